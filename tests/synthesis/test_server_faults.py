"""A run against servers that refuse, think aloud, or lose all rows of one way."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, default_answer
from support.synthesis_run import CONVERSATIONS, SmallRun, conversation

from opencharacter.engines import EngineDown
from opencharacter.engines.thoughts import Answer
from opencharacter.errors import OpenCharacterError
from opencharacter.records.models import DialogueRow
from opencharacter.storage import Artifact, read_models

EASY = [[f"Question {i}?", f"Answer {i}."] for i in range(20)]


def rows(dialogues: Artifact, file: str = "dialogues.jsonl.zst") -> list[DialogueRow]:
    return list(read_models(dialogues.path / file, DialogueRow))


def is_profile(request: dict[str, Any]) -> bool:
    return "birth_place" in json.dumps(request)


def is_generated(request: dict[str, Any]) -> bool:
    return bool(request["messages"][0]["role"] == "system")


def refuse(status: int, message: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    "refusal",
    [
        refuse(402, "Insufficient credits"),
        refuse(429, "You exceeded your current quota", code="insufficient_quota"),
        (200, {"error": {"code": 402, "message": "Insufficient credits"}}),
    ],
)
def test_after_the_credit_ran_out_exactly_the_missing_rows_are_asked_for(
    tmp_path: Path, refusal: tuple[int, dict]
) -> None:
    """120 rows, of which the last 20 are refused: the next run makes 20 requests."""
    conversations = [[f"Question {i}?", f"Answer {i}."] for i in range(10)]
    answered = {"left": 10**9}

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        answered["left"] -= 1
        return refusal if answered["left"] < 0 else None

    with FakeLLM(rule=rule, delay_s=0.005) as server:
        run = SmallRun(str(tmp_path), server.base_url, strategies=("R",), n=12, conversations=conversations)
        run.make_profiles()
        run.characters()
        answered["left"] = 100
        with pytest.raises(EngineDown, match=refusal[1]["error"]["message"]):
            run.make_responses()
        answered["left"] = 10**9
        before = len(server.calls)
        run.make_responses()
        assert len(server.calls) - before == 20
        assert run.dialogues().counts["ok"] == 120


def test_the_words_of_the_server_are_kept_with_a_rejected_row(tmp_path: Path) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        flagged = "And a longer one?" in json.dumps(request) and not is_profile(request)
        return refuse(403, "Your input was not welcome here") if flagged else None

    with FakeLLM(rule=rule) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, personas=["A beekeeper.", "A diver."]).run()
    rejected = rows(dialogues, "rejected.jsonl")
    assert {row.strategy for row in rejected} == {"R", "G"}
    assert {row.reason for row in rejected} == {"refused_by_server"}
    assert all("403: Your input was not welcome here" in str(row.detail) for row in rejected)
    assert all("detail" not in row.model_dump() for row in rows(dialogues))
    old = json.loads((dialogues.path / "rejected.jsonl").read_text().splitlines()[0])
    del old["detail"]
    assert DialogueRow.model_validate(old).detail is None


def test_the_words_of_the_server_are_kept_with_a_rejected_profile(tmp_path: Path) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "prompt is too long") if "geese" in json.dumps(request) else None

    with FakeLLM(rule=rule) as server:
        run = SmallRun(str(tmp_path), server.base_url)
        run.make_profiles()
        characters = run.characters()
    lines = [json.loads(line) for line in (characters.path / "rejected.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all("400: prompt is too long" in line["detail"] for line in lines)


@pytest.mark.parametrize(
    "thoughts", ["<think>I am a model.</think>\n\n", "I am a model.\n</think>\n\n", "[THINK]Hm.[/THINK]"]
)
def test_thoughts_never_become_lines_of_a_character(tmp_path: Path, thoughts: str) -> None:
    with FakeLLM(answer=lambda request: thoughts + default_answer(request)) as server:
        characters, dialogues = SmallRun(str(tmp_path), server.base_url).run()
        sent = [message["content"] for call in server.calls for message in call.request["messages"]]
    assert characters.counts["rejected"] == dialogues.counts["rejected"] == 0
    assert not any("I am a model." in text or "Hm." in text for text in sent), "nor part of the history"
    assert not any("think" in turn.content.lower() for row in rows(dialogues) for turn in row.turns)


def test_a_reply_cut_off_inside_its_thoughts_is_truncated(tmp_path: Path) -> None:
    def say(request: dict[str, Any]) -> str:
        last = request["messages"][-1]["content"]
        return "<think>" + "The user wants more. " * 300 if last == "And a longer one?" else default_answer(request)

    with FakeLLM(answer=say) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("G",)).run()
    assert {row.reason for row in rows(dialogues, "rejected.jsonl")} == {"truncated"}


def message(**fields: Any) -> tuple[int, dict[str, Any]]:
    finish_reason = fields.pop("finish_reason", "stop")
    usage = {"prompt_tokens": 7.5, "completion_tokens": None}
    return 200, {"choices": [{"message": {"content": None, **fields}, "finish_reason": finish_reason}], "usage": usage}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (message(reasoning_content="The user wants a river."), "only_reasoning"),
        (message(refusal="I cannot do that."), "refusal"),
        (message(content="The Nile is", finish_reason="content_filter"), "content_filter"),
        (message(tool_calls=[{}], finish_reason="tool_calls"), "tool_call"),
        (refuse(400, "Failed to generate JSON", code="json_validate_failed"), "invalid_json"),
    ],
)
def test_a_reply_without_an_answer_takes_the_next_attempt(
    tmp_path: Path, answer: tuple[int, dict], reason: str
) -> None:
    """One of two characters gets an answer on the second attempt."""
    seeds: dict[str, list[int]] = {}

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        if "And a longer one?" not in json.dumps(request["messages"][-1]) or is_profile(request):
            return None
        asked = seeds.setdefault(request["messages"][0]["content"], [])
        asked.append(request["seed"])
        first = next(iter(seeds))
        return answer if asked is seeds[first] or len(asked) == 1 else None

    with FakeLLM(rule=rule) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("G",), concurrency=1).run()
    assert [len(set(asked)) for asked in seeds.values()] == [2, 2]
    [rejected] = rows(dialogues, "rejected.jsonl")
    assert rejected.reason == reason
    assert rejected.usage.prompt_tokens >= 0


def test_all_of_g_lost_while_r_is_fine_is_no_success(tmp_path: Path) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return message(reasoning_content="Hm.") if is_generated(request) else None

    with FakeLLM(rule=rule) as server:
        run = SmallRun(str(tmp_path), server.base_url)
        with pytest.raises(OpenCharacterError, match=r"12 of 12 dialogues of G were rejected: only_reasoning 12"):
            run.run()


def test_all_of_a_large_corpus_lost_is_no_success(tmp_path: Path) -> None:
    """20 rows of R from the corpus "odd" are lost, and 20 from "talk" are fine."""

    class TwoCorpora(SmallRun):
        def session_ref(self) -> Artifact:
            odd = [conversation([f"Odd question {i}?", "Well."], corpus="odd") for i in range(10)]
            return self._input("sessions", [*(conversation(texts) for texts in EASY[:10]), *odd])

        def _responses(self) -> Any:
            config, [corpus], *rest = super()._responses()
            return config, [corpus, corpus.model_copy(update={"name": "odd"})], *rest

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "prompt is too long") if "Odd question" in json.dumps(request["messages"]) else None

    with FakeLLM(rule=rule) as server:
        run = TwoCorpora(str(tmp_path), server.base_url, strategies=("R",))
        with pytest.raises(OpenCharacterError, match=r"20 of 20 dialogues of R and corpus 'odd' were rejected"):
            run.run()


def test_all_of_a_way_lost_is_noticed_before_all_of_it_is_paid_for(tmp_path: Path) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return message(reasoning_content="Hm.") if is_generated(request) else None

    with FakeLLM(rule=rule) as server:
        run = SmallRun(str(tmp_path), server.base_url, conversations=EASY, n=12, attempts=1)
        run.make_profiles()
        run.characters()
        with pytest.raises(OpenCharacterError, match="responses of G were rejected"):
            run.make_responses()
        assert sum(is_generated(call.request) for call in server.calls) < 150


def test_a_parameter_that_the_server_does_not_take_stops_the_run_and_rejects_nothing(tmp_path: Path) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "property 'seed' is unsupported") if "seed" in request else None

    with FakeLLM(rule=rule) as server:
        run = SmallRun(str(tmp_path), server.base_url)
        with pytest.raises(EngineDown, match="does not take 'seed'"):
            run.make_profiles()
        run.request = {"omit": ["seed"]}
        characters, dialogues = run.run()
    assert characters.counts == {"ok": 12, "rejected": 0}
    assert dialogues.counts["rejected"] == 0


@pytest.mark.parametrize(
    ("request_settings", "asked_again"),
    [({"rename": {"max_tokens": "max_completion_tokens"}, "system_role": "developer", "omit": ["seed"]}, False),
     ({"omit": ["temperature"]}, True), ({"system_role": "merge"}, True), ({"add": {"top_k": 5}}, True)],
)  # fmt: skip
def test_settings_that_change_the_text_change_the_address(
    tmp_path: Path, request_settings: dict[str, Any], asked_again: bool
) -> None:
    with FakeLLM() as server:
        SmallRun(str(tmp_path), server.base_url).run()
        before = len(server.calls)
        SmallRun(str(tmp_path), server.base_url, request=request_settings).run()
        assert len(server.calls) == before * (1 + asked_again)


def test_a_stored_row_of_an_earlier_version_is_read_without_its_thoughts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked again; an answer that was thoughts alone makes its row a rejected one."""

    def say(request: dict[str, Any]) -> str:
        if not is_generated(request):
            return default_answer(request)
        alone = request["messages"][-1]["content"] == "Tell me about your home."
        return "<think>Hm.</think>" if alone else "<think>Hm.</think>The sea."

    with FakeLLM(answer=say) as server:
        run = SmallRun(str(tmp_path), server.base_url, strategies=("G",), conversations=CONVERSATIONS[3:])
        run.make_profiles()
        run.characters()
        with monkeypatch.context() as earlier:
            earlier.setattr("opencharacter.engines.replies.clean_text", lambda text, _: (text, None))
            earlier.setattr("opencharacter.generation.calls.clean_text", lambda text, _: (text, None))
            earlier.setattr("opencharacter.generation.replies.cut_thoughts", lambda text: Answer(text, False, False))
            run.make_responses()
        before = len(server.calls)
        run.make_responses()
        dialogues = run.dialogues()
        assert len(server.calls) == before
    assert {turn.content for row in rows(dialogues) for turn in row.turns[1::2]} == {"The sea."}
    assert [(row.reason, row.turns) for row in rows(dialogues, "rejected.jsonl")] == [("only_reasoning", ())] * 2


def test_a_recorded_call_of_an_earlier_version_is_read_without_its_thoughts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that 0.1 began goes on from its journal, and what it says next knows nothing of the thoughts."""
    stop = {"at": "And a longer one?"}

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        last = request["messages"][-1]["content"]
        return refuse(402, "no credit") if last == stop["at"] and is_generated(request) else None

    def say(request: dict[str, Any]) -> str:
        return "<think>Hm.</think>The sea." if is_generated(request) else default_answer(request)

    with FakeLLM(rule=rule, answer=say) as server:
        run = SmallRun(str(tmp_path), server.base_url, strategies=("G",), conversations=CONVERSATIONS[1:2])
        run.make_profiles()
        run.characters()
        with monkeypatch.context() as earlier:
            earlier.setattr("opencharacter.engines.replies.cut_thoughts", lambda text: Answer(text, False, False))
            with pytest.raises(EngineDown):
                run.make_responses()
        stop["at"] = ""
        before = len(server.calls)
        run.make_responses()
        asked = [call.request["messages"] for call in server.calls[before:]]
    assert len(asked) == 2, "the first answers are in the journal"
    assert {messages[2]["content"] for messages in asked} == {"The sea."}
