"""The evaluation's page is one safe file, shows every comparison with its uncertainty, and says no word too many."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.evaluation_rows import JUDGES, MODELS, make_arena_evaluation, make_suite_evaluation
from support.html_page import Page
from support.small_run import OutputMaker

from opencharacter.evaluation.judges.labels import Label, append_label
from opencharacter.records.evaluation import GateDecision, GateFinding, LedgerPosition
from opencharacter.reporting import write_evaluation_page
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, SCORES

EVIL = '<script>alert("pwned")</script> $x_{1$ {{ 7 * 7 }}'


def finding(name: str, outcome: str, margin: float, low: float, high: float, **other: Any) -> GateFinding:
    fields: dict[str, Any] = {"suite": "personagym-light", "metric": name, "n": 200, "clusters": 40}
    fields |= {"difference": (low + high) / 2, "interval": (low, high), "outcome": outcome, "margin": margin}
    return GateFinding(name=name, **(fields | other))


def decision(**change: Any) -> GateDecision:
    fields: dict[str, Any] = {
        "passed": False, "metric": "judge", "against": "champion", "outcome": "not shown", "confidence": 0.95, "n": 200,
        "reason": "toxicity control may lose more than 0.1", "remedy": "200 more characters",
        "challenger_digest": MODELS["challenger"], "champion_digest": MODELS["champion"],
        "primary": finding("primary", "passed", 0.0, 0.05, 0.21, mde=0.08),
        "guards": [
            finding("toxicity_control", "not shown", 0.1, -0.45, -0.17),
            finding("safety", "undecidable", 0.02, -0.1, 0.1, clusters=12),
            finding("new_characters", "passed", 0.1, 0.0, 0.2),
        ],
        "clusters": 40, "mde": 0.08, "judges": list(JUDGES),
        "ledger": LedgerPosition(comparison=3, alpha=0.0021, items="e" * 64),
    }  # fmt: skip
    return GateDecision(**(fields | change))


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_suite_evaluation(OutputMaker(tmp_path_factory.mktemp("light")), questions=1)


@pytest.fixture(scope="module")
def html(light: Artifact, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a suite with a judge, and of an arena."""
    folder = tmp_path_factory.mktemp("page")
    arena = make_arena_evaluation(OutputMaker(folder / "arena"))
    rows = [row for row in SCORES.read(light) if row.judge == JUDGES[0] and row.score is not None]
    labels = folder / "labels.jsonl"
    for row in rows:
        # People rate the task as the judge does, less 1; a label of two answers has no place beside it.
        rated = {"suite": "personagym-light", "question_id": row.question_id, "repeat": row.repeat, "model": row.model}
        append_label(labels, Label(**rated, metric=row.metric, score=row.score - 1, rater="anna"))
        append_label(labels, Label(**rated, rival="f" * 64, score=1, rater="anna"))
    evaluations = {"personagym-light": light, "arena": arena}
    path = write_evaluation_page(evaluations, decision(), folder / "page.html", labels=[labels])
    return path.read_text(encoding="utf-8")


def render(folder: Path, evaluation: Artifact, name: str = "suite", of: GateDecision | None = None) -> Page:
    return Page(write_evaluation_page({name: evaluation}, of, folder / "page.html").read_text(encoding="utf-8"))


def test_the_decision_is_there_with_its_ground(html: str) -> None:
    text = Page(html).text
    for expected in (
        "The challenger is not shown to beat the champion; it stays challenger",
        "What would decide it: 200 more characters",
        "smallest gain that can be shown 0.08",
        "comparison on these items No. 3",
        "one-sided level 0.21 %",
        "1 of 3 guards hold",
        "✓ passed gains; can show 0.08",
        "✕ not shown loses less than 0.1",
        "? undecidable loses less than 0.02",
        "Judged by judge-north@9f31c2 , judge-south@04be77",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"outcome": "undecidable"}, "These data cannot decide between the challenger and the champion"),
        ({"passed": True, "outcome": "passed"}, "The challenger beats the champion and may become champion"),
        ({"champion_digest": MODELS["challenger"]}, "This model is the champion already"),
        ({"outcome": None, "primary": None, "guards": [], "against": "base"}, "is not shown to beat the base model"),
    ],
)
def test_each_outcome_has_its_sentence(light: Artifact, tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in render(tmp_path, light, of=decision(**change)).text


def test_the_challenger_is_compared_with_champion_and_base_by_task(html: str) -> None:
    text = Page(html).text
    task = text.split("Difference, points")[1].split("toxicity control")[0]
    assert re.search(r"expected action n 40 · 40 clusters champion [+−]0\.\d\d .* base \+0\.\d\d .* better", task)


def test_what_was_planted_is_said_and_nothing_else(make_output: OutputMaker, tmp_path: Path) -> None:
    skill = {"base": 2.5, "champion": 4.0, "challenger": 4.0}
    text = render(tmp_path, make_suite_evaluation(make_output, skill=skill, questions=2)).text
    comparisons = text.split("Difference, points")[1].split("How the scores are spread")[0]
    champion = re.findall(r"champion [+−][\d.]+ [+−][\d.]+ to [+−][\d.]+ (\w+)", comparisons)
    base = re.findall(r"base [+−][\d.]+ [+−][\d.]+ to [+−][\d.]+ (\w+)", comparisons)
    assert champion == ["not", "worse", "not", "not", "not"]  # toxicity control is worse, as planted
    assert base == 5 * ["better"]


def test_few_characters_get_no_word(make_output: OutputMaker, tmp_path: Path) -> None:
    skill = {"base": 1.5, "champion": 2.0, "challenger": 4.5}
    text = render(tmp_path, make_suite_evaluation(make_output, skill=skill, characters=12, questions=5)).text
    comparisons = text.split("Difference, points")[1].split("How the scores are spread")[0]
    assert comparisons.count("undecidable (12 of 20 clusters)") == 10
    assert not re.search(r"\b(better|worse)\b", comparisons)


def test_samples_show_all_three_models_with_the_judges_reasons(html: str) -> None:
    text = Page(html).text
    for sort in ("largest wins over the champion", "largest losses to the champion", "judges disagree most"):
        sample = text.split(f"personagym-light: {sort}")[1].split("personagym-light:")[0]
        assert re.search(r"User You are at .* Base .* Champion .* Challenger ", sample)
        assert sample.count("judge-north@9f31c2") >= 3
    assert "Leaves the character at once" in text


def test_failures_and_cut_answers_are_counted_for_each_model(light: Artifact, html: str) -> None:
    silent = dict.fromkeys(MODELS, 0)
    cut = dict(silent)
    for answer in ANSWERS.read(light):
        name = next(name for name, identity in MODELS.items() if identity == answer.model)
        cut[name] += answer.finish_reason == "length"
    for score in SCORES.read(light):
        silent[next(name for name, identity in MODELS.items() if identity == score.model)] += (
            score.status == "no_answer"
        )
    text = Page(html).text
    figures = r"(\d+) [\d.]+ % (\d+) [\d.]+ % (\d+) [\d.]+ %"
    shown = re.search(r"cut off at the limit of tokens counts as: judged as it is " + figures, text)
    assert shown is not None
    assert list(map(int, shown.groups())) == list(cut.values())
    shown = re.search("score: no answer counts as: the worst score " + figures, text)
    assert shown is not None
    assert list(map(int, shown.groups())) == list(silent.values())
    assert cut["challenger"] > cut["champion"]


def test_a_judge_that_likes_the_first_place_is_seen(html: str) -> None:
    said = re.search(r"(\d+) % of 200 verdicts change with the order .*; (\d+) % of decided ones", Page(html).text)
    assert said is not None
    assert int(said[1]) > 40
    assert int(said[2]) > 60


def test_judges_stand_beside_people_where_these_rated_answers(html: str) -> None:
    assert len([label for label in Page(html).labels if f"{JUDGES[0]} by what people gave" in label]) == 1


def test_every_chart_has_words_for_those_who_cannot_see_it(html: str) -> None:
    page = Page(html)
    assert page.tags.count("svg") >= 2
    assert len(page.labels) >= page.tags.count("svg") + 16  # bars of five tasks and three models, and of the variance
    assert all(len(label) > 8 for label in page.labels)
    assert any("mean score by words in the answer. base: " in label for label in page.labels)


def test_it_needs_nothing_beside_it(html: str) -> None:
    page = Page(html)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_text_of_models_judges_and_suites_is_data(make_output: OutputMaker, tmp_path: Path) -> None:
    evaluation = make_suite_evaluation(make_output, suite=EVIL, characters=6, text=EVIL, judges=(EVIL, EVIL + "2"))
    page = render(tmp_path, evaluation, name=EVIL, of=decision(reason=EVIL, judges=[EVIL]))
    assert "script" not in page.tags
    assert page.text.count(EVIL) > 10


def test_an_evaluation_of_one_model_has_a_page(make_output: OutputMaker, tmp_path: Path) -> None:
    alone = make_suite_evaluation(make_output, characters=3, models={"gpt-4o": "https://example.org#gpt-4o"})
    text = render(tmp_path, alone).text
    assert "Nothing to compare" in text
    assert "gpt-4o" in text


def test_models_of_any_name_are_compared_by_their_roles(make_output: OutputMaker, tmp_path: Path) -> None:
    named = {"new": MODELS["challenger"], "old": MODELS["champion"], "champion": "9" * 64}
    skill = {"new": 4.5, "old": 2.5}
    evaluation = make_suite_evaluation(make_output, characters=20, models=named, skill=skill)
    roles = {"challenger": "new", "champion": "old", "base": "base"}
    path = write_evaluation_page({"suite": evaluation}, None, tmp_path / "page.html", roles=roles)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "champion old" in text.split("Comparisons")[0]
    assert "other champion" in text.split("Comparisons")[0]
    assert len(re.findall(r" champion \+\d\.\d\d \+\d\.\d\d to \+\d\.\d\d better", text)) >= 5


def test_each_turn_of_a_conversation_is_a_point_of_the_drift(make_output: OutputMaker, tmp_path: Path) -> None:
    evaluation = make_suite_evaluation(make_output, characters=4, turns=6)
    page = render(tmp_path, evaluation)
    (label,) = [label for label in page.labels if "mean score by turn" in label]
    ends = re.search(r"challenger: ([\d.]+) at 1, ([\d.]+) at 6", label)
    assert ends is not None
    assert float(ends[1]) > float(ends[2])
