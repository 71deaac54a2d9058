"""Several suites, planted effects, judges and the ledger."""

import numpy as np
import pytest
from support.score_rows import make_evaluation_of

from opencharacter.errors import UserError
from opencharacter.evaluation import GateConfig, ScoreRow, gate
from opencharacter.evaluation.comparison import paired_sample, scoring_of
from opencharacter.evaluation.evaluation_config import GuardsConfig, PrimaryConfig
from opencharacter.evaluation.suites import load_suite
from opencharacter.records.evaluation import AnswerRow, GateDecision, Scale, Scoring

MODELS = {"base": "b", "challenger": "c", "champion": "p"}
TASKS = ("action", "toxicity", "habits", "consistency", "justification")


class CountingLedger:
    """Counts in memory as the registry does in MLflow."""

    def __init__(self) -> None:
        self.noted: dict[tuple[str, str], list[str]] = {}

    def count(self, items: str, rival: str, comparison: str, details: dict[str, str]) -> int:
        known = self.noted.setdefault((items, rival), [])
        if comparison not in known:
            known.append(comparison)
        return known.index(comparison) + 1


def suite_rows(gain: float, *, characters: int = 200, seed: int = 1, judges=("judge-1",), tasks=TASKS, **gains: float):
    """Answers of two models that differ by the gain; PersonaGym's spread, as its paper prints it."""
    generator = np.random.default_rng(seed)
    rows = []
    for character in range(characters):
        for task in tasks:
            for model in ("p", "c"):
                score = 3.8 + generator.normal(0, 0.5) + (gains.get(task, gain) if model == "c" else 0.0)
                rows += [row(model, f"{character}", task, min(5.0, max(1.0, score)), judge) for judge in judges]
    return rows


def row(model: str, character: str, task: str, score: float | None, judge: str | None = None, **more) -> ScoreRow:
    return ScoreRow(
        **{
            "suite": "suite",
            "question_id": f"{character}-{task}",
            "character_id": character,
            "session_id": f"{character}-{task}",
            "cell": None,
            "model": model,
            "status": "ok" if score is not None else "parse_failure",
            "metric": task,
            "judge": judge,
            "score": score,
        }
        | more
    )


def evaluation(workspace, suite: str, rows: list[ScoreRow], *, models=MODELS, scoring: Scoring | None = None, **about):
    scoring = scoring or Scoring(scales={}, pairs=False, clusters=("character_id",))
    return make_evaluation_of(workspace, rows, models, scoring, suite=suite, **about)


def test_a_planted_gain_is_found_and_none_is_not(workspace) -> None:
    gained = gate(GateConfig(), [evaluation(workspace, "personagym", suite_rows(0.1))])
    assert (gained.outcome, gained.metric, gained.n, gained.clusters) == ("passed", "judge", 1000, 200)
    assert gained.mde == pytest.approx(0.07, abs=0.02)
    assert {guard.outcome for guard in gained.guards} == {"passed"}
    equal = gate(GateConfig(), [evaluation(workspace, "personagym", suite_rows(0.0))])
    assert equal.outcome == "not shown"
    assert "not higher with confidence" in equal.remedy


def test_a_regression_of_safety_blocks_a_better_challenger(workspace) -> None:
    better = evaluation(workspace, "frozen", suite_rows(0.1))
    safe = evaluation(workspace, "safety", suite_rows(0.0, characters=60, seed=2))
    worse = evaluation(workspace, "safety", suite_rows(-0.3, characters=60, seed=2))
    assert gate(GateConfig(), [better, safe]).passed
    decision = gate(GateConfig(), [better, worse])
    assert decision.outcome == "not shown"
    assert "guard safety" in decision.reason
    assert gate(GateConfig(guards=GuardsConfig(suites={"safety": 0.6})), [better, worse]).passed


def test_harm_and_over_refusal_are_guards_each(workspace) -> None:
    scale = Scale(low=0, high=1, lower_is_better=True)
    scoring = Scoring(scales={"harm": scale, "over_refusal": scale}, pairs=False, clusters=("character_id",))
    rows = []
    for character in range(60):
        rows += [row("p", str(character), "harm", float(character % 10 == 0)), row("c", str(character), "harm", 0.0)]
        rows += [row("p", str(character), "over_refusal", 0.0)]
        rows += [row("c", str(character), "over_refusal", float(character % 4 == 0))]
    suites = [evaluation(workspace, "frozen", suite_rows(0.1)), evaluation(workspace, "safety", rows, scoring=scoring)]
    decision = gate(GateConfig(), suites)
    outcomes = {guard.name: guard.outcome for guard in decision.guards if guard.suite == "safety"}
    assert outcomes == {"safety harm": "passed", "safety over_refusal": "not shown"}
    wide = gate(GateConfig(guards=GuardsConfig(suites={"safety": {"over_refusal": 0.5}})), suites)
    assert {guard.name: guard.margin for guard in wide.guards if guard.suite == "safety"} == {
        "safety harm": 0.1,
        "safety over_refusal": 0.5,
    }
    with pytest.raises(UserError, match=r"gate.guards.suites.safety: 'harms' was not measured"):
        gate(GateConfig(guards=GuardsConfig(suites={"safety": {"harms": 0.5}})), suites)


def grid_rows(known: float, new: float, *, judge: str | None = "judge-1") -> list[ScoreRow]:
    """The split grid of 60 characters, half of them new: gains of the challenger, judged or in nats."""
    rows = []
    for place in range(60):
        cell, gain = ("held_out_both", new) if place % 2 else ("seen_character_held_out_session", known)
        noise = 0.01 * (place % 5)
        about = {"suite": "grid", "cell": cell, "question_id": f"grid-{place}", "session_id": f"grid-{place}"}
        metric = "expected_action" if judge else "loss"
        rows += [row("p", f"g{place}", metric, 3.0, judge, **about)]
        rows += [row("c", f"g{place}", metric, 3.0 + (gain if judge else -gain) + noise, judge, **about)]
    return rows


@pytest.mark.parametrize(
    ("known", "new", "judge", "outcome"),
    [
        (0.6, -0.5, "judge-1", "not shown"),
        (0.0, 0.0, "judge-1", "passed"),
        (0.6, -0.5, None, "not shown"),
        (0.1, 0.1, None, "passed"),
    ],
)
def test_new_characters_are_guarded_where_the_primary_is_another_suite(
    workspace, known: float, new: float, judge: str | None, outcome: str
) -> None:
    """A judge decides where the grid was judged, else the loss."""
    grid = evaluation(workspace, "grid", grid_rows(known, new, judge=judge), scoring=Scoring())
    suites = [evaluation(workspace, "frozen", suite_rows(0.1)), grid]
    config = GateConfig(primary=PrimaryConfig(suite="frozen", metric="judge"))
    decision = gate(config, suites)
    (guard,) = [one for one in decision.guards if one.suite == "grid"]
    assert (guard.name, guard.outcome, guard.n, decision.outcome) == ("new characters of grid", outcome, 30, outcome)
    assert gate(config.model_copy(update={"guards": GuardsConfig(skip=["new_characters"])}), suites).passed


def test_the_primary_is_neutral_ground_where_there_is_one(workspace) -> None:
    frozen, light = evaluation(workspace, "frozen", suite_rows(0.1)), suite_rows(0.1, seed=5)
    assert gate(GateConfig(), [evaluation(workspace, "personagym-light", light), frozen]).primary.suite == "frozen"
    declared = GateConfig(primary=PrimaryConfig(suite="personagym-light", metric="habits", delta=0.3))
    decision = gate(declared, [evaluation(workspace, "personagym-light", light), frozen])
    assert (decision.primary.metric, decision.outcome) == ("habits", "not shown")
    assert "higher by more than 0.3" in decision.reason


def test_related_judges_do_not_decide_and_all_others_must_agree(workspace) -> None:
    for judge in ("c", "renamed@c"):
        own = evaluation(workspace, "frozen", suite_rows(0.5, judges=(judge,)))
        assert gate(GateConfig(), [own]).outcome == "undecidable"
    family = {"judges": {"big": "judge-1"}, "families": {"challenger": "llama", "big": "llama"}}
    assert gate(GateConfig(), [evaluation(workspace, "frozen", suite_rows(0.5), **family)]).outcome == "undecidable"

    rows = suite_rows(0.4) + [
        one.model_copy(update={"judge": "judge-2", "score": 3.0 + (0.02 if one.model == "p" else 0.0)})
        for one in suite_rows(0.0)
    ]
    decision = gate(GateConfig(), [evaluation(workspace, "frozen", rows)])
    assert decision.judges == ["judge-1", "judge-2"]
    assert decision.primary.outcome == "passed"
    assert decision.outcome == "not shown"
    assert "agreement of judges" in decision.reason


def test_a_guard_model_of_the_same_suite_has_no_say_in_the_primary(workspace) -> None:
    scoring = Scoring(
        scales={"harm": Scale(low=0, high=1, lower_is_better=True)}, pairs=False, clusters=("character_id",)
    )
    rows = suite_rows(0.1) + [row(model, str(place), "harm", 0.0, "guard") for place in range(30) for model in "cp"]
    assert gate(GateConfig(), [evaluation(workspace, "frozen", rows, scoring=scoring)]).passed


@pytest.mark.parametrize(("cut_every", "outcome"), [(5, "not shown"), (100, "passed")])
def test_answers_that_are_cut_off_block_a_better_challenger(workspace, cut_every: int, outcome: str) -> None:
    answers = [
        AnswerRow(
            **row(model, str(place), "t", 3.0).model_dump(exclude={"metric", "judge", "score", "tokens", "note"}),
            conversation=[],
            answer="Well,",
            finish_reason="length" if model == "c" and place % cut_every == 0 else "stop",
        )
        for place in range(200)
        for model in "cp"
    ]
    decision = gate(GateConfig(), [evaluation(workspace, "frozen", suite_rows(0.1), answers=answers)])
    assert decision.outcome == outcome
    (guard,) = [one for one in decision.guards if one.name == "truncation"]
    assert guard.difference == pytest.approx(1 / cut_every)


def test_each_further_try_needs_more_and_a_repeated_one_does_not_count(workspace) -> None:
    ledger = CountingLedger()
    first = evaluation(workspace, "frozen", suite_rows(0.1))
    decisions = [gate(GateConfig(), [first], ledger=ledger) for _ in range(2)]
    assert [one.ledger.comparison for one in decisions] == [1, 1]
    assert decisions[0].ledger.alpha == pytest.approx(0.0125)
    later = [
        gate(
            GateConfig(),
            [evaluation(workspace, "frozen", suite_rows(0.1, seed=seed), items_digest=None)],
            ledger=ledger,
        )
        for seed in (2, 3, 4)
    ]
    assert [one.ledger.comparison for one in later] == [2, 3, 4]
    assert later[-1].confidence == pytest.approx(1 - 2 * 0.025 / 20)
    assert later[-1].interval[1] - later[-1].interval[0] > decisions[0].interval[1] - decisions[0].interval[0]


def test_what_cannot_be_decided_is_no_try(workspace) -> None:
    ledger = CountingLedger()
    few = evaluation(workspace, "frozen", suite_rows(0.5, characters=10))
    decision = gate(GateConfig(), [few], ledger=ledger)
    assert (decision.outcome, decision.ledger, ledger.noted) == ("undecidable", None, {})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"primary": {"suite": "arena", "metric": "judge"}}, r"gate.primary.suite: 'arena' was not evaluated"),
        ({"guards": {"suites": {"assistant": 0.1}}}, r"gate.guards.suites: 'assistant' was not evaluated"),
    ],
)
def test_suites_that_were_not_evaluated_are_an_error(workspace, settings, words) -> None:
    with pytest.raises(UserError, match=words):
        gate(GateConfig.model_validate(settings), [evaluation(workspace, "frozen", suite_rows(0.1, characters=30))])


def test_suites_of_other_models_are_an_error(workspace) -> None:
    rows = suite_rows(0.1, characters=30)
    other = evaluation(workspace, "safety", rows, models=MODELS | {"champion": "q"})
    with pytest.raises(UserError, match="different models"):
        gate(GateConfig(), [evaluation(workspace, "frozen", rows), other])
    with pytest.raises(UserError, match="has not measured 'mine'"):
        gate(GateConfig(), [evaluation(workspace, "frozen", rows)], challenger="mine")


def test_a_configuration_of_release_0_1_is_still_read() -> None:
    old = GateConfig.model_validate({"metric": "loss", "confidence": 0.95, "min_questions": 10, "resamples": 2000})
    assert (old.metric, old.alpha) == ("loss", pytest.approx(0.025))


def test_a_decision_of_release_0_1_is_still_read() -> None:
    old = {"passed": True, "metric": "loss", "against": "base", "confidence": 0.95, "n": 31, "reason": "lower"}
    decision = GateDecision.model_validate(old | {"challenger_digest": "c"})
    assert (decision.outcome, decision.guards) == (None, [])


@pytest.mark.parametrize("name", ["frozen", "safety", "assistant", "scenes"])
def test_the_shipped_suites_have_characters_enough(name: str) -> None:
    suite = load_suite(name)
    items = suite.items()
    rows = [
        row(model, "", "task", 3.0, character_id=item.character_id, session_id=item.session_id, question_id=item.id)
        for item in items
        for model in ("c", "p")
    ]
    sample = paired_sample(rows, "c", "p", scoring_of(suite.config))
    assert sample.n == len(items)
    assert sample.estimate().clusters >= GateConfig().min_clusters
