"""The report is one safe file, shows what a run made, and tells the truth of a run that is not whole."""

import json
import re
from pathlib import Path

import pytest
from support.html_page import Page
from support.small_run import OutputMaker, answer, dialogue, profile, session, statistics, summary

from opencharacter.characters.profile import CharacterProfile
from opencharacter.records.evaluation import AnswerRow, GateDecision, Summary
from opencharacter.records.mixture import MixtureStatistics
from opencharacter.reporting import ModelAnswer, ReportInputs, ServedAnswer, make_report, write_report
from opencharacter.storage.kinds import REPORT
from opencharacter.storage.workspace import Workspace

ROSA = profile("Rosa Quispe")
EVIL = profile('Eve <script>alert("pwned")</script>', personality="<img src=x onerror=alert(1)> {{ 7 * 7 }}")
ONE_TURN = session("s1", "How do I bake bread?", "Mix flour and water.")
TWO_TURNS = session("s2", "Hello?", "Hello.", "Are you well?", "Quite well.")
GATE = {
    "passed": True,
    "metric": "loss",
    "confidence": 0.95,
    "n": 31,
    "against": "base",
    "reason": "loss -0.7 against base, lower, as it must be",
    "challenger_digest": "c" * 64,
    "champion_digest": None,
}


@pytest.fixture
def whole(make_output: OutputMaker) -> ReportInputs:
    usage = {"calls": 1234, "prompt_tokens": 9000, "completion_tokens": 500}
    characters = make_output(
        "characters",
        {"characters.jsonl.zst": [ROSA, EVIL]},
        counts={"ok": 2, "rejected": 3},
        stats={"wall_s": 1.0, "usage": usage, "rejected_by_reason": {"missing_attribute": 2, "prompt_echo": 1}},
    )
    shards = [make_output("profiles_rows", stats={"wall_s": 30.0, "usage": usage}) for _ in range(2)]
    dialogues = [
        dialogue("R", ONE_TURN, ROSA, "Rewritten: knead it, wawa."),
        dialogue("G", ONE_TURN, ROSA, "Generated: ask the oven."),
        dialogue("R", TWO_TURNS, EVIL, "R one </div>", "R two"),
        dialogue("G", TWO_TURNS, EVIL, "G one", "G two"),
    ]
    answers = [answer("b", "q1", ROSA.id, "A flat answer."), answer("c", "q1", ROSA.id, "A lively answer.")]
    answers += [answer("b", "q2", ROSA.id, None), answer("c", "q2", ROSA.id, "Lonely answer.")]
    return ReportInputs(
        name="whole",
        seed=7,
        shards=shards,
        characters=characters,
        sessions=make_output(
            "sessions",
            {"sessions.jsonl.zst": [ONE_TURN, TWO_TURNS]},
            counts={"ok": 2, "bad": 1, "duplicates": 0},
            stats={"bad_by_reason": {"a turn is empty": 1}},
        ),
        dialogues=make_output("dialogues", {"dialogues.jsonl.zst": dialogues}, counts={"ok": 4}),
        mixture=make_output("mixture", texts={"statistics.json": json.dumps(statistics())}, counts={"train": 64}),
        model=make_output(
            "model", {"loss.jsonl": [{"step": 1, "loss": 3.25}, {"step": 2, "loss": 2.125}]}, stats={"world_size": 2}
        ),
        evaluation=make_output(
            "evaluation", {"answers.jsonl.zst": answers}, texts={"summary.json": json.dumps(summary())}
        ),
        decision=GATE,
        registered={"name": "opencharacter", "version": 3, "uri": "/weights", "digest": "c" * 64, "tags": {}},
        served=ServedAnswer(
            profile=ROSA,
            question="Are you there?",
            base=ModelAnswer(text="As a baker, yes.", model="org/base", draws=2),
            tuned=ModelAnswer(text="Where else <b>would</b> I be?", model="models:/opencharacter@champion"),
            notes=["Both got the same prompt."],
        ),
    )


def render(run: ReportInputs, folder: Path) -> str:
    return write_report(run, folder / "out" / "report.html").read_text(encoding="utf-8")


def test_this_run_has_the_form_that_the_steps_write() -> None:
    Summary.model_validate(summary())
    AnswerRow.model_validate(answer("b", "q1", ROSA.id, "Text."))
    GateDecision.model_validate(GATE)
    MixtureStatistics.model_validate(statistics())


def test_the_whole_run_is_shown(whole: ReportInputs, tmp_path: Path) -> None:
    text = Page(render(whole, tmp_path)).text
    for expected in (
        "teacher teacher-1 · judge judge-1",
        "1 bad: a turn is empty",
        "2 rejected: missing attribute",
        "1 rejected: prompt echo",
        "1 234",  # calls
        "1 min 01 s",  # two shards of half a minute, and the gathering
        "Rewritten: knead it, wawa.",
        "Generated: ask the oven.",
        "Mix flour and water.",
        "lower, as it must be",
        "The new model beats the base model",
        "A flat answer.",
        "A lively answer.",
        "near duplicate answer",
        "system prompt is paper , with persona in 6 rows, persona and profile in 58 rows.",
        "Where else <b>would</b> I be?",
        "Base model · org/base As a baker, yes. Draw 2;",
        "Both got the same prompt.",
        "Grew ninety kinds of potato.",
    ):
        assert expected in text


def test_an_answer_that_is_not_coherent_is_named_and_folded_away(whole: ReportInputs, tmp_path: Path) -> None:
    assert whole.served is not None
    noise = ModelAnswer(text="E** Site any mistakes?", fault="1 of its 4 words are unreadable", draws=3)
    page = Page(render(whole.model_copy(update={"served": whole.served.model_copy(update={"tuned": noise})}), tmp_path))
    named = "No coherent answer in 3 draws: in the last one, 1 of its 4 words are unreadable. Show it E** Site"
    assert named in page.text


def test_a_report_of_the_version_that_held_one_answer_is_still_read() -> None:
    old = {"profile": ROSA.model_dump(), "question": "Are you there?", "answer": "Yes.", "model": "models:/m@champion"}
    assert ServedAnswer.model_validate(old).tuned == ModelAnswer(text="Yes.", model="models:/m@champion")


def test_text_is_data(whole: ReportInputs, tmp_path: Path) -> None:
    html = render(whole, tmp_path)
    page = Page(html)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert '<script>alert("pwned")</script>' in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_it_needs_nothing_beside_it(whole: ReportInputs, tmp_path: Path) -> None:
    html = render(whole, tmp_path)
    page = Page(html)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    assert page.tags.count("svg") >= 4


def test_ids_are_unique_so_that_charts_do_not_share_their_clips(whole: ReportInputs, tmp_path: Path) -> None:
    ids = Page(render(whole, tmp_path)).ids
    assert len(set(ids)) == len(ids)


def test_a_change_gets_a_word_only_where_it_is_shown(whole: ReportInputs, tmp_path: Path) -> None:
    text = Page(render(whole, tmp_path)).text
    loss, rest = text.split("Lower is better.")[1].split("Higher: the model uses the profile.")
    gap = rest.split("From 1 to 5")[0]
    assert loss.count("better −") == 5
    assert gap.count("not shown 0.020") == 5
    assert "better" not in gap


def test_unparsed_judge_replies_are_counted_for_each_model(whole: ReportInputs, tmp_path: Path) -> None:
    assert "judge: parse failure 2 of 14 3 of 3" in Page(render(whole, tmp_path)).text


def test_silence_and_cut_answers_are_shown_and_counted(
    whole: ReportInputs, make_output: OutputMaker, tmp_path: Path
) -> None:
    answers = [answer("b", "q1", ROSA.id, None), answer("c", "q1", ROSA.id, "And so I") | {"finish_reason": "length"}]
    evaluation = make_output(
        "evaluation", {"answers.jsonl.zst": answers}, texts={"summary.json": json.dumps(summary())}
    )
    text = Page(render(whole.model_copy(update={"evaluations": [evaluation]}), tmp_path)).text
    assert "Before · no answer: empty answer After · cut off at the limit of tokens And so I" in text
    assert "answer: cut off at the limit of tokens 0 1 of 1" in text


def test_the_champion_has_its_column_its_change_and_its_answers(
    whole: ReportInputs, make_output: OutputMaker, tmp_path: Path
) -> None:
    three = summary()
    three["models"]["champion"] = "a" * 64
    for row in [row for row in three["scores"] if row["model"] == "base"]:
        three["scores"].append(row | {"model": "champion"})
    for row in [row for row in three["differences"] if row["metric"] == "loss"]:
        worse = {"against": "champion", "difference": 0.3, "low": 0.2, "high": 0.4}
        three["differences"].append(row | worse)
    answers = [answer(model, "q1", ROSA.id, f"Said by {model}.") for model in "bac"]
    evaluation = make_output("evaluation", {"answers.jsonl.zst": answers}, texts={"summary.json": json.dumps(three)})
    text = Page(render(whole.model_copy(update={"evaluations": [evaluation]}), tmp_path)).text
    assert "before champion after after − before after − champion" in text
    assert text.count("worse 0.300 0.200 to 0.400") == 5
    assert "Before Said by b. Champion Said by a. After Said by c." in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"passed": False, "reason": "not lower beyond doubt"}, "is not shown to beat the base model"),
        ({"champion_digest": "c" * 64, "against": "champion"}, "is the champion already"),
        ({"champion_digest": "d" * 64, "against": "champion"}, "beats the present champion"),
        ({"notes": ["min_clusters is 3: the level does not hold"]}, "the level does not hold"),
    ],
)
def test_the_gate_is_told_in_words(
    make_output: OutputMaker, tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    characters = make_output("characters", {"characters.jsonl.zst": [ROSA]})
    run = ReportInputs(name="gated", characters=characters, decision=GATE | change)
    assert expected in Page(render(run, tmp_path)).text


def test_a_partial_run_still_gets_a_report(make_output: OutputMaker, tmp_path: Path) -> None:
    nameless = CharacterProfile(name="…")
    run = ReportInputs(name="partial", characters=make_output("characters", {"characters.jsonl.zst": [nameless]}))
    page = Page(render(run, tmp_path))
    assert "1 of 1 profiles" in page.text
    assert "scores" not in page.ids
    assert "samples" not in page.ids


def test_rewriting_replaces_the_old_report_and_leaves_nothing_else(whole: ReportInputs, tmp_path: Path) -> None:
    render(whole, tmp_path)
    render(whole.model_copy(update={"name": "renamed"}), tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert "renamed" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_step_keeps_the_run_so_that_the_report_can_be_made_again(whole: ReportInputs, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    ref = make_report(whole, workspace=workspace)
    assert REPORT.exists(ref)
    assert ReportInputs.model_validate(ref.stats["run"]) == whole
    assert make_report(whole, workspace=workspace) == ref


def test_returning_names_words_of_examples_and_cut_answers_are_counted(
    make_output: OutputMaker, tmp_path: Path
) -> None:
    people = [profile(name) for name in ("Elara Vance", "Elara Moss", "Dr. Elara Finch", "Rosa Quispe", "Kai Moss")]
    characters = make_output(
        "characters",
        {"characters.jsonl.zst": people},
        counts={"ok": 5},
        stats={"shared_with_example": {"first_name": 2, "words": 4}},
    )
    dialogues = make_output(
        "dialogues",
        {"dialogues.jsonl.zst": [dialogue("G", ONE_TURN, people[0], "Ask the oven.")]},
        counts={"ok": 1},
        stats={"cut_answers": 7, "unchanged_answers": 0, "in_character_refusals": 3},
    )
    page = Page(render(ReportInputs(name="names", characters=characters, dialogues=dialogues), tmp_path)).text
    assert "3 different first names among 5 characters; most often Elara (3)." in page
    assert (
        "2 profiles have the first name of the example that the teacher saw, 4 have five words in a row of it" in page
    )
    assert "7 cut to their whole sentences" in page
    assert "3 dialogues in which a harmful request is turned down in character" in page
