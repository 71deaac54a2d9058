"""The quality stage, against a fake judge whose replies are scripted: what is kept, repaired, dropped and asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_llm import FakeLLM, Fault, FaultKind, default_answer
from support.small_run import OutputMaker, dialogue, profile, session

from opencharacter.components.judge_dialogues.component import judge_dialogues as step
from opencharacter.components.runtime import Step
from opencharacter.config.run import run_identity
from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError
from opencharacter.records.models import DialogueRow
from opencharacter.storage.kinds import DIALOGUES, REJECTED
from opencharacter.storage.workspace import Artifact
from opencharacter.synthesis import QualityConfig, judge_dialogues

ROSA, IVAN = profile("Rosa Quispe"), profile("Ivan Petrov", gender="Male")
ONE = session("s1", "How do I bake?", "Mix it.")
TWO = session("s2", "Hello?", "Hello.", "Are you well?", "Quite.")
GOOD, BAD, WORSE = "Knead it, wawa, as the puna wind does.", "As an answer: bake (weak).", "Hopeless (hopeless)."


class Judge:
    """Scores 5, or 2 where an answer holds `weak` or `hopeless`; a repair of the latter is as bad as before."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, request: dict[str, Any]) -> str:
        prompt = request["messages"][0]["content"]
        self.prompts.append(prompt)
        if prompt.startswith("You correct"):
            count = request["response_format"]["json_schema"]["schema"]["properties"]["answers"]["minItems"]
            text = "Still hopeless." if "hopeless" in prompt else "Better now, by my own oven."
            return json.dumps({"answers": [text] * count})
        said = prompt.split("# The dialogue")[1].split("# What counts")[0]
        low = "weak" in said or "hopeless" in said
        return json.dumps({"reason": "nobody's voice" if low else "her own voice", "score": 2 if low else 5})

    def count(self, start: str) -> int:
        return sum(prompt.startswith(start) for prompt in self.prompts)


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def server(judge: Judge) -> Iterator[FakeLLM]:
    with FakeLLM(answer=judge) as fake:
        yield fake


class Inputs:
    """A finished synthesis of one good, one weak and one hopeless dialogue, and a rejected one."""

    def __init__(self, folder: Path) -> None:
        self.make = make = OutputMaker(folder)
        self.workspace = make.workspace
        self.characters = make("characters", {"characters.jsonl.zst": [ROSA, IVAN]})
        self.rows = [
            dialogue("R", ONE, ROSA, GOOD),
            dialogue("G", TWO, ROSA, BAD, GOOD),
            dialogue("G", ONE, IVAN, WORSE),
        ]
        lost = dialogue("R", ONE, IVAN, GOOD).model_copy(
            update={"status": "rejected", "reason": "refusal", "turns": ()}
        )
        self.dialogues = make(
            "dialogues",
            {"dialogues.jsonl.zst": self.rows, "rejected.jsonl": [lost]},
            counts={"ok": 3, "rejected": 1, "skipped_without_answers": 4},
            stats={"rejected_by_reason": {"refusal": 1}, "usage": {"calls": 9}, "wall_s": 2.0},
        )

    def judged(self, server: FakeLLM, **settings: Any) -> Artifact:
        engine = EngineConfig(model="judge-1", base_url=server.base_url, max_retries=1)
        config = QualityConfig(**settings)
        return judge_dialogues(config, engine, self.dialogues, self.characters, workspace=self.workspace, seed=3)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path / "workspace")


def by_id(artifact: Artifact) -> dict[str, DialogueRow]:
    return {row.row_id: row for row in DIALOGUES.read(artifact)}


def test_good_rows_stay_bad_ones_are_repaired_once_and_the_rest_is_dropped(
    inputs: Inputs, server: FakeLLM, judge: Judge
) -> None:
    found = inputs.judged(server)
    good, weak, hopeless = inputs.rows
    kept = by_id(found)
    assert list(kept) == [good.row_id, weak.row_id]
    assert kept[good.row_id].turns == good.turns
    assert kept[good.row_id].extra == {"quality": {"score": 5, "note": "her own voice", "repaired": False}}
    assert kept[good.row_id].model == "teacher-1"
    repaired = kept[weak.row_id]
    better = "Better now, by my own oven."
    assert [turn.content for turn in repaired.turns] == ["Hello?", better, "Are you well?", better]
    assert repaired.model == "judge-1"
    assert repaired.extra == {"quality": {"score": 5, "note": "her own voice", "repaired": True}}
    rejected = list(REJECTED.read_raw(found))
    assert [(row["row_id"], row["reason"]) for row in rejected] == [
        (f"R-s1-{IVAN.id}", "refusal"),
        (hopeless.row_id, "low_quality"),
    ]
    assert rejected[1]["extra"]["quality"] == {"score": 2, "note": "nobody's voice", "repaired": False}
    assert found.counts == {"ok": 2, "rejected": 2, "skipped_without_answers": 4}
    assert found.stats["rejected_by_reason"] == {"refusal": 1, "low_quality": 1}
    assert found.stats["quality"] == {
        "judge": "judge-1",
        "threshold": 3,
        "outcomes": {"accepted": 1, "repaired": 1, "low_quality": 1},
    }
    assert found.stats["usage"]["calls"] == 9 + len(server.calls)
    assert (judge.count("You check"), judge.count("You correct")) == (5, 2)


def test_the_judge_sees_the_character_the_dialogue_and_the_rubric_and_the_repair_its_reason(
    inputs: Inputs, server: FakeLLM, judge: Judge
) -> None:
    inputs.judged(server, rubric="Is there any bread in it?")
    check = next(prompt for prompt in judge.prompts if GOOD in prompt and "Hello?" not in prompt)
    for expected in (
        "Grew ninety kinds of potato.",
        "farms at four thousand",
        "User: How do I bake?",
        f"Character: {GOOD}",
    ):
        assert expected in check
    assert "# What counts\n\nIs there any bread in it?\n" in check
    repair = next(prompt for prompt in judge.prompts if prompt.startswith("You correct"))
    assert "# The fault\n\nnobody's voice\n" in repair


def test_a_second_run_and_another_threshold_ask_only_for_what_is_missing(
    inputs: Inputs, server: FakeLLM, judge: Judge
) -> None:
    first = inputs.judged(server, repair=False)
    assert (len(server.calls), first.stats["quality"]["outcomes"]) == (3, {"accepted": 1, "low_quality": 2})
    assert inputs.judged(server, repair=False) == first
    second = inputs.judged(server)
    assert (len(server.calls), judge.count("You correct")) == (3 + 2 + 2, 2)
    lower = inputs.judged(server, threshold=2)
    assert (len(server.calls), lower.counts["ok"]) == (7, 3)
    assert inputs.judged(server, threshold=3, max_dropped_share=0.5) == second


def test_a_run_that_was_cut_off_repeats_no_call(inputs: Inputs, judge: Judge) -> None:
    broken = [Fault("server_error", match="hopeless")]
    with FakeLLM(answer=judge, faults=broken) as server, pytest.raises(OpenCharacterError):
        inputs.judged(server)
    made = len(judge.prompts)
    assert made == 2
    with FakeLLM(answer=judge) as server:
        found = inputs.judged(server)
        assert len(server.calls) == 7 - made
    assert found.stats["quality"]["outcomes"] == {"accepted": 1, "repaired": 1, "low_quality": 1}


@pytest.mark.parametrize("kind", ["garbage", "refusal", "truncated", "bad_request"])
def test_a_dialogue_without_a_score_is_dropped_under_its_own_reason(
    inputs: Inputs, judge: Judge, kind: FaultKind
) -> None:
    with FakeLLM(answer=judge, faults=[Fault(kind, match="Hello?")]) as server:
        found = inputs.judged(server)
    assert found.stats["quality"]["outcomes"]["not_judged"] == 1
    assert found.stats["rejected_by_reason"]["not_judged"] == 1
    [lost] = [row for row in REJECTED.read_raw(found) if row["reason"] == "not_judged"]
    assert (lost["extra"]["quality"]["score"], lost["row_id"]) == (None, inputs.rows[1].row_id)


UNUSABLE = [[], ["One.", "Two.", "Three."], ["", ""], ["As an AI language model, I cannot.", "No."], "text", [1, 2]]


@pytest.mark.parametrize("answers", UNUSABLE)
def test_a_repair_that_cannot_be_used_is_none(inputs: Inputs, judge: Judge, answers: Any) -> None:
    def reply(request: dict[str, Any]) -> str:
        if request["messages"][0]["content"].startswith("You correct"):
            return json.dumps({"answers": answers})
        return judge(request)

    with FakeLLM(answer=reply) as server:
        found = inputs.judged(server)
    assert found.stats["quality"]["outcomes"] == {"low_quality": 2, "accepted": 1}


def test_a_judge_that_drops_nearly_everything_stops_the_run(inputs: Inputs, server: FakeLLM) -> None:
    with pytest.raises(OpenCharacterError, match="2 of 3 dialogues would be dropped by the judge: low_quality 2") as no:
        inputs.judged(server, repair=False, max_dropped_share=0.5)
    assert "quality.threshold" in str(no.value.hint)
    assert inputs.workspace.list("dialogues") == [inputs.dialogues]


def test_a_judge_without_room_for_a_score_is_told_what_it_needs(inputs: Inputs, judge: Judge) -> None:
    with (
        FakeLLM(answer=judge, faults=[Fault("truncated")]) as server,
        pytest.raises(OpenCharacterError, match="3 of 3 dialogues would be dropped by the judge: not_judged 3") as no,
    ):
        inputs.judged(server)
    assert "quality.judge_sampling.max_tokens" in str(no.value.hint)


def test_characters_of_another_run_are_named(inputs: Inputs, server: FakeLLM) -> None:
    inputs.characters = inputs.make("characters", {"characters.jsonl.zst": [ROSA]})
    with pytest.raises(OpenCharacterError, match=f"its character {IVAN.id} is not among the characters"):
        inputs.judged(server)
    assert not server.calls


def test_an_answer_of_any_shape_ends_no_run(inputs: Inputs) -> None:
    with FakeLLM(answer=default_answer) as server:
        inputs.judged(server, threshold=1)


def test_the_step_publishes_what_is_kept(inputs: Inputs, server: FakeLLM, tmp_path: Path) -> None:
    run, root = run_identity(3), str(tmp_path / "workspace")
    given, people, judged = (SimpleNamespace(uri="", metadata={}) for _ in range(3))
    with Step("test", root, run) as before:
        before.publish(inputs.dialogues, given)
        before.publish(inputs.characters, people)
    engines = {"critic": {"model": "judge-1", "base_url": server.base_url}}
    step.python_func(root, run, {"engine": "critic", "threshold": 3}, engines, given, people, judged)
    assert (judged.metadata["kind"], judged.metadata["ok"], judged.metadata["rejected"]) == ("dialogues", 2, 2)
    assert judged.metadata["digest"] not in ("", given.metadata["digest"])
