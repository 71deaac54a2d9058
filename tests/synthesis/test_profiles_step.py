"""Persona to profile: what is accepted, what is mended, what is rejected and why."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, Fault
from support.synthesis_run import PERSONAS, SmallRun

from opencharacter.characters import CharacterProfile
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.storage import read_jsonl, read_models
from opencharacter.storage.kinds import PERSONAS as PERSONAS_FILE
from opencharacter.storage.rowstore import open_rows
from opencharacter.synthesis.profiles import ProfilePrompt, profile_row_id

GOOD = {
    "name": "Ines Prado",
    "age": 41,
    "gender": "female",
    "race": "Andean",
    "birth_place": "Cusco, Peru",
    "appearance": "She is tall and wears a felt hat.",
    "experience": "She walked every trail of her valley.",
    "personality": "She is patient and proud.",
}


def answering(*texts: str) -> FakeLLM:
    """A server that gives these answers, one call after the other, and the last one from then on."""
    left = list(texts)
    return FakeLLM(answer=lambda request: left.pop(0) if len(left) > 1 else left[0])


def one_persona(root: Path, server: FakeLLM, **settings: Any) -> SmallRun:
    return SmallRun(str(root), server.base_url, personas=PERSONAS[:1], concurrency=1, **settings)


def test_profiles_in_the_personas_order(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url, shards=2)
    made = [run.make_profiles(shard) for shard in range(2)]
    characters = list(read_models(run.characters().path / "characters.jsonl.zst", CharacterProfile))
    assert [character.persona for character in characters] == PERSONAS
    assert not any(character.missing for character in characters)
    assert characters[0].provenance is not None
    assert characters[0].provenance.licence == "CC0-1.0"
    assert sum(ref.stats["usage"]["calls"] for ref in made) == len(fake_llm.calls) == len(PERSONAS)
    assert len({call.request["seed"] for call in fake_llm.calls}) == len(PERSONAS)


@pytest.mark.parametrize(("shard", "of"), [(2, 2), (-1, 2), (0, 0), (0, 257)])
def test_a_shard_that_there_is_not_is_refused(tmp_path: Path, fake_llm: FakeLLM, shard: int, of: int) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url, shards=of)
    with pytest.raises(UserError, match=f"shard {shard} of {of}: expected 1 to 256 shards, counted from 0"):
        run.make_profiles(shard)
    assert fake_llm.calls == []


def test_lengths_of_the_schema_follow_max_tokens(tmp_path: Path, fake_llm: FakeLLM) -> None:
    longest: dict[int, int] = {}
    for max_tokens in (320, 2048):
        run = one_persona(tmp_path, fake_llm, profile_max_tokens=max_tokens)
        run.make_profiles()
        schema = fake_llm.calls[-1].request["response_format"]["json_schema"]["schema"]
        longest[max_tokens] = sum(value["maxLength"] for value in schema["properties"].values())
        assert longest[max_tokens] < 4 * max_tokens
    assert longest[2048] > 5000


def test_server_without_structured_output(tmp_path: Path) -> None:
    fenced = f"Here you are:\n```json\n{json.dumps(GOOD)}\n```\nAnything else?"
    with answering(fenced) as server:
        server.faults = [Fault("no_response_format")]
        run = one_persona(tmp_path, server)
        run.make_profiles()
        [character] = read_models(run.characters().path / "characters.jsonl.zst", CharacterProfile)
    assert (character.name, character.age) == ("Ines Prado", "41")


def test_one_repair_then_a_new_seed(tmp_path: Path) -> None:
    lacking = json.dumps({key: value for key, value in GOOD.items() if key != "race"})
    with answering("no JSON", lacking, lacking, json.dumps(GOOD)) as server:
        run = one_persona(tmp_path, server)
        run.make_profiles()
        assert run.characters().counts == {"ok": 1, "rejected": 0}
        talks = [call.request["messages"] for call in server.calls]
        assert [len(talk) for talk in talks] == [3, 5, 3, 5]
        assert talks[1][3]["content"] == "no JSON"
        assert "race" in talks[3][4]["content"]
        assert len({call.request["seed"] for call in server.calls}) == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"race": None}, "missing_attribute"),
        ({"race": "  "}, "blank_attribute"),
        ({"race": "N/A"}, "blank_attribute"),
        ({"race": "\u2800\u200b"}, "blank_attribute"),
        ({"race": "Fri\0sian"}, "blank_attribute"),
        ({"race": {"of": "cats"}}, "invalid_json"),
        ({"experience": "As an AI language model, I have no past."}, "refusal"),
        ({"personality": "Invent a fictional person for this description and write a profile."}, "echo"),
        ({"experience": PERSONAS[0]}, "echo"),
        ({"experience": ("Words without an end " * 40)[:300]}, "truncated"),
    ],
)
def test_unusable_profiles(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with answering(json.dumps(GOOD | change)) as server:
        run = one_persona(tmp_path, server)
        ref = run.make_profiles()
        assert ref.stats["rejected_by_reason"] == {reason: 1}
        with pytest.raises(OpenCharacterError, match=f"1 of 1 characters were rejected: {reason} 1"):
            run.characters()
        asked = len(server.calls)
        run.make_profiles()
        assert len(server.calls) == asked, "a rejected row is finished"
        run.attempts += 1
        run.make_profiles()
        assert len(server.calls) > asked, "more attempts are another chance"


def test_a_stored_profile_that_would_be_refused_today_is_rejected_and_not_asked_again(tmp_path: Path) -> None:
    with answering(json.dumps(GOOD)) as server:
        run = SmallRun(str(tmp_path), server.base_url, personas=PERSONAS[:2], concurrency=1)
        persona = next(PERSONAS_FILE.read(run.persona_ref()))
        row_id = profile_row_id(persona, ProfilePrompt.load(run._profiles()), "fake", run.seed)

        async def store_row_of_an_older_version() -> None:
            async with open_rows(run.workspace.rows("profiles")) as rows:
                content = GOOD | {"age": "41", "race": "\u200b"}
                await rows.finish(row_id, {"status": "ok", "usage": {}, "content": content}, label="ok")

        asyncio.run(store_row_of_an_older_version())
        run.make_profiles()
        characters = run.characters()
        assert len(server.calls) == 1
    assert characters.counts == {"ok": 1, "rejected": 1}
    [rejected] = read_jsonl(characters.path / "rejected.jsonl")
    assert (rejected["row_id"], rejected["reason"]) == (row_id, "blank_attribute")


def test_cut_off_prose_ends_with_a_sentence(tmp_path: Path) -> None:
    at_the_limit = "She is patient. " * 18 + "And she walks"[:12]
    long = GOOD | {"personality": at_the_limit}
    with answering(json.dumps(long)) as server:
        run = one_persona(tmp_path, server)
        run.make_profiles()
        [character] = read_models(run.characters().path / "characters.jsonl.zst", CharacterProfile)
    assert character.personality is not None
    assert character.personality.endswith("She is patient.")


@pytest.mark.parametrize(("fault", "reason"), [("garbage", "invalid_json"), ("refusal", "refusal"), ("truncated", "")])
def test_bad_teacher_spoils_its_rows_only(tmp_path: Path, fake_llm: FakeLLM, fault: Any, reason: str) -> None:
    fake_llm.faults = [Fault(fault, match="geese")]
    run = SmallRun(str(tmp_path), fake_llm.base_url)
    run.make_profiles()
    characters = run.characters()
    assert characters.counts == {"ok": 8, "rejected": 4}
    rejected = list(read_jsonl(characters.path / "rejected.jsonl"))
    assert all("geese" in row["persona"]["text"] and row["reason"].startswith(reason) for row in rejected)


def test_rejections_are_judged_early(tmp_path: Path, fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("garbage")]
    run = SmallRun(str(tmp_path), fake_llm.base_url, personas=[f"Persona {n}" for n in range(400)], attempts=1)
    with pytest.raises(OpenCharacterError, match=r"100 of 100 profiles were rejected: invalid_json 100"):
        run.make_profiles()


def test_teacher_down_and_up_again(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url)
    fake_llm.faults = [Fault("server_error", match="geese")]
    with pytest.raises(OpenCharacterError, match="4 profiles got no answer"):
        run.make_profiles()
    with pytest.raises(OpenCharacterError, match="4 of 12 rows of characters are not made yet"):
        run.characters()
    fake_llm.faults = []
    fake_llm.calls.clear()
    run.make_profiles()
    assert len(fake_llm.calls) == 4
    assert run.characters().counts["ok"] == 12
    run.url = "http://127.0.0.1:9/v1"
    run.make_profiles()
