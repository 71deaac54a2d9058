import numpy as np
import pytest

from opencharacter.evaluation.judges.calibration import Calibrated, Pair, calibrate


def _trial(seed: int, *, bias: float, labels: int = 150, quality: float = 0.9, items: int = 800) -> Calibrated:
    """Differences of two models whose true mean is .1 for people; the judge follows them and adds a bias."""
    rng = np.random.default_rng(seed)
    characters = rng.permutation(np.repeat(np.arange(40), items // 40))
    people = 0.1 + rng.normal(0, 0.15, 40)[characters] + rng.normal(0, 0.5, items)
    judge = bias + quality * people + rng.normal(0, 0.3, items)
    judged = {f"i{i}": Pair(f"c{characters[i]}", f"s{i}", judge[i]) for i in range(items)}
    return calibrate(judged, {f"i{i}": people[i] for i in rng.choice(items, labels, replace=False)})


def test_a_biased_judge_is_corrected_and_the_interval_covers_what_people_think() -> None:
    trials = [_trial(seed, bias=0.3) for seed in range(100)]
    assert np.mean([0.1 in trial.corrected for trial in trials]) >= 0.9
    assert np.mean([0.1 in trial.judge for trial in trials]) < 0.1
    assert np.mean([trial.corrected.value for trial in trials]) == pytest.approx(0.1, abs=0.01)


def test_a_good_judge_tells_more_than_the_labels_alone() -> None:
    trials = [_trial(seed, bias=0.3) for seed in range(30)]

    def width(name: str) -> float:
        return float(np.mean([getattr(trial, name).high - getattr(trial, name).low for trial in trials]))

    assert width("corrected") < 0.8 * width("people")


def test_everything_labelled_is_what_people_say() -> None:
    found = _trial(1, bias=0.5, labels=800)
    assert found.corrected.value == pytest.approx(found.people.value)
    assert found.corrected.low == pytest.approx(found.people.low)


def test_too_few_labels_are_said_and_none_correct_nothing() -> None:
    assert _trial(1, bias=0, labels=100).enough
    assert not _trial(1, bias=0, labels=99).enough
    none = calibrate({"i": Pair("c", "s", 1.0)}, {"other": 0.0})
    assert (none.corrected.value, none.corrected.n, none.judge.value) == (None, 0, 1.0)
