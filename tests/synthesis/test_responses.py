"""R and G: turns, history, checks and counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, Fault, default_answer
from support.synthesis_run import CONVERSATIONS, SmallRun

from opencharacter.characters import CharacterProfile, load_prompt, system_prompt
from opencharacter.errors import OpenCharacterError
from opencharacter.records.models import DialogueRow
from opencharacter.storage import Artifact, read_models

ANSWERED = [texts for texts in CONVERSATIONS if len(texts) % 2 == 0]


def rows(dialogues: Artifact, file: str = "dialogues.jsonl.zst") -> list[DialogueRow]:
    return list(read_models(dialogues.path / file, DialogueRow))


def answering(say: Callable[[dict[str, Any]], str]) -> FakeLLM:
    """A server that makes profiles as usual, and answers everything else with `say`."""

    def answer(request: dict[str, Any]) -> str:
        is_profile = "birth_place" in json.dumps(request.get("response_format", {}))
        return default_answer(request) if is_profile else say(request)

    return FakeLLM(answer=answer)


def test_r_keeps_user_turns_and_number_of_turns(tmp_path: Path, fake_llm: FakeLLM) -> None:
    _, dialogues = SmallRun(str(tmp_path), fake_llm.base_url, strategies=("R",)).run()
    made = rows(dialogues)
    assert len(made) == 2 * len(ANSWERED)
    assert dialogues.counts == {"ok": 8, "rejected": 0, "skipped_without_answers": 4}
    for row in made:
        source = next(texts for texts in ANSWERED if texts[0] == row.turns[0].content)
        assert [turn.content for turn in row.turns if turn.role == "user"] == source[::2]
        assert [turn.role for turn in row.turns] == ["user", "assistant"] * (len(source) // 2)
    schemas = [call.request["response_format"]["json_schema"]["schema"]["properties"] for call in fake_llm.calls]
    sizes = [
        (schema["answers"]["minItems"], schema["answers"]["maxItems"]) for schema in schemas if "answers" in schema
    ]
    assert set(sizes) == {(1, 1), (2, 2), (3, 3)}


@pytest.mark.parametrize("change", [-1, 1])
def test_r_rejects_a_wrong_number_of_turns(tmp_path: Path, change: int) -> None:
    def say(request: dict[str, Any]) -> str:
        count = request["response_format"]["json_schema"]["schema"]["properties"]["answers"]["minItems"]
        return json.dumps({"answers": ["Aye, so it is."] * (count + change * (count > 1))})

    with answering(say) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("R",)).run()
    assert {len(row.turns) for row in rows(dialogues)} == {2}
    rejected = rows(dialogues, "rejected.jsonl")
    assert {(row.reason, row.usage.calls) for row in rejected} == {("turn_count", 2)}
    assert len(rejected) == 2 * sum(len(texts) > 2 for texts in ANSWERED)


def test_r_counts_unchanged_answers(tmp_path: Path) -> None:
    def say(request: dict[str, Any]) -> str:
        source = next(texts for texts in ANSWERED if texts[0] in request["messages"][0]["content"])
        return json.dumps({"answers": source[1::2]})

    with answering(say) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("R",)).run()
    assert dialogues.counts["ok"] == 8
    assert dialogues.stats["unchanged_answers"] == 2 * sum(len(texts) // 2 for texts in ANSWERED)


def test_g_sees_its_own_answers_and_the_system_prompt(tmp_path: Path, fake_llm: FakeLLM) -> None:
    characters, dialogues = SmallRun(str(tmp_path), fake_llm.base_url, strategies=("G",)).run()
    by_id = {c.id: c for c in read_models(characters.path / "characters.jsonl.zst", CharacterProfile)}
    seen = [call.request["messages"] for call in fake_llm.calls]
    made = rows(dialogues)
    assert len(made) == 2 * len(CONVERSATIONS)
    for row in made:
        system = {"role": "system", "content": system_prompt(by_id[row.character_id])}
        talk = [system, *(turn.model_dump() for turn in row.turns)]
        assert all(talk[:end] in seen for end in range(2, len(talk), 2))
        assert [turn.content for turn in row.turns[::2]] in [texts[::2] for texts in CONVERSATIONS]


def test_g_asks_with_the_named_system_prompt_and_its_rows_have_addresses_of_their_own(
    tmp_path: Path, fake_llm: FakeLLM
) -> None:
    settings: dict[str, Any] = {"strategies": ("R", "G"), "conversations": CONVERSATIONS[:2]}
    plain = rows(SmallRun(str(tmp_path), fake_llm.base_url, **settings).run()[1])
    before = len(fake_llm.calls)
    characters, dialogues = SmallRun(str(tmp_path), fake_llm.base_url, system_prompt="paper", **settings).run()
    paper = rows(dialogues)
    asked = [call.request["messages"][0] for call in fake_llm.calls[before:]]
    cast = read_models(characters.path / "characters.jsonl.zst", CharacterProfile)
    prompts = {system_prompt(character, template=load_prompt("paper")) for character in cast}
    assert {(message["role"], message["content"] in prompts) for message in asked} == {("system", True)}
    addresses = [{row.row_id for row in made if row.strategy == "R"} for made in (plain, paper)]
    assert addresses[0] == addresses[1], "R does not use the system prompt"
    assert not {row.row_id for row in plain if row.strategy == "G"} & {row.row_id for row in paper}


def test_r_and_g_of_a_session_have_the_same_cast(tmp_path: Path, fake_llm: FakeLLM) -> None:
    _, dialogues = SmallRun(str(tmp_path), fake_llm.base_url, n=3).run()
    casts = {
        strategy: {(row.session_id, row.character_id) for row in rows(dialogues) if row.strategy == strategy}
        for strategy in ("R", "G")
    }
    assert len(casts["G"]) == 3 * len(CONVERSATIONS)
    assert casts["R"] < casts["G"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("As an AI, I do not have a home.", "refusal"),
        ("   ", "empty"),
        ("\u200b\u3164", "empty"),
        ("The sea.\0", "empty"),
        ("Answer every message as Bo, in the first person and in your own voice.", "echo"),
        ("word " * 500, "truncated"),
    ],
)
def test_g_rejects(tmp_path: Path, text: str, reason: str) -> None:
    def say(request: dict[str, Any]) -> str:
        return text if request["messages"][-1]["content"] == "And a longer one?" else "The sea, my friend."

    with answering(say) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("G",)).run()
        seeds = [call.request["seed"] for call in server.calls if "And a longer" in str(call.request["messages"][-1])]
    assert len(set(seeds)) == 4, "two characters, two attempts each"
    assert [(row.reason, row.usage.calls) for row in rows(dialogues, "rejected.jsonl")] == [(reason, 3)] * 2


def test_answer_at_max_tokens_is_trimmed_to_whole_sentences(tmp_path: Path) -> None:
    with answering(lambda request: "The sea is wide. " * 30 + "And then " * 500) as server:
        _, dialogues = SmallRun(str(tmp_path), server.base_url, strategies=("G",)).run()
    assert {row.turns[1].content for row in rows(dialogues)} == {("The sea is wide. " * 30).strip()}


def test_request_that_the_server_refuses_is_a_rejected_row(tmp_path: Path, fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("bad_request", match="And a longer one?")]
    run = SmallRun(str(tmp_path), fake_llm.base_url)
    _, dialogues = run.run()
    rejected = rows(dialogues, "rejected.jsonl")
    assert {(row.strategy, row.reason) for row in rejected} == {("R", "refused_by_server"), ("G", "refused_by_server")}
    assert {row.turns for row in rejected} == {()}


def test_bad_answers_of_r(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url, strategies=("R",))
    run.make_profiles()
    fake_llm.faults = [
        Fault("garbage", match="boil an egg"),
        Fault("refusal", match="line about rain"),
        Fault("truncated", match="better than coffee"),
    ]
    _, dialogues = run.run()
    reasons = {row.reason for row in rows(dialogues, "rejected.jsonl")}
    assert {"invalid_json", "refusal"} <= reasons <= {"invalid_json", "refusal", "truncated", "turn_count"}
    assert {row.turns[0].content for row in rows(dialogues)} >= {"Name a river.", "What should I read?"}


def test_no_usable_answer_at_all(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url)
    run.make_profiles()
    run.characters()
    fake_llm.faults = [Fault("refusal")]
    run.make_responses()
    with pytest.raises(OpenCharacterError, match=r"20 of 20 dialogues were rejected: refusal 20"):
        run.dialogues()
    assert not any((tmp_path / "outputs" / "dialogues").iterdir())
