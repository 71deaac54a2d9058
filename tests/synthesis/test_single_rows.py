"""One row without a workspace: the row of a run, in any event loop."""

import asyncio
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM, Fault
from support.synthesis_run import CONVERSATIONS, PERSONAS, SmallRun, conversation

from opencharacter.characters import CharacterProfile
from opencharacter.engines import EngineConfig, open_engine
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.records import DialogueRow
from opencharacter.records.models import Persona
from opencharacter.storage import read_models
from opencharacter.synthesis import ProfilesConfig, generate_session, make_profile, rewrite_session

PERSONA = Persona(id="1", text=PERSONAS[0], source="tests", licence="CC0-1.0")
CHARACTER = CharacterProfile(name="Ada", persona="A keeper of bees.")


@pytest.fixture
def engine(fake_llm: FakeLLM) -> EngineConfig:
    return EngineConfig(model="fake", base_url=fake_llm.base_url, max_retries=0)


async def test_a_profile_of_a_persona_is_complete(engine: EngineConfig) -> None:
    profile = await make_profile(engine, PERSONA)
    assert profile.missing == []
    assert (profile.persona, profile.provenance.model) == (PERSONA.text, "fake")


async def test_a_kept_row_is_not_asked_for_again(engine: EngineConfig, fake_llm: FakeLLM, tmp_path: Path) -> None:
    async with open_engine(engine) as opened:
        first = await make_profile(opened, PERSONA, rows=tmp_path)
        again = await make_profile(opened, PERSONA, rows=tmp_path)
    assert first == again
    assert len(fake_llm.calls) == 1


async def test_another_seed_is_another_row(engine: EngineConfig, fake_llm: FakeLLM, tmp_path: Path) -> None:
    for seed in (1, 2):
        await make_profile(engine, PERSONA, seed=seed, rows=tmp_path)
    assert len({call.request["seed"] for call in fake_llm.calls}) == 2


async def test_no_usable_answer_says_why(engine: EngineConfig, fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("refusal")]
    with pytest.raises(OpenCharacterError, match="no usable answer in 2 attempts: refusal"):
        await make_profile(engine, PERSONA, ProfilesConfig(attempts=2))


async def test_a_server_that_is_absent_is_an_error_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.engines.limits.FIRST_PATIENCE_S", 0.1)
    with pytest.raises(OpenCharacterError, match=r"127\.0\.0\.1:9"):
        await make_profile(EngineConfig(model="fake", base_url="http://127.0.0.1:9/v1", max_retries=0), PERSONA)


async def test_r_rewrites_each_answer_and_g_answers_each_turn(engine: EngineConfig, fake_llm: FakeLLM) -> None:
    session = conversation(CONVERSATIONS[1])
    for make, strategy, calls in ((rewrite_session, "R", 1), (generate_session, "G", 2)):
        fake_llm.calls.clear()
        row = await make(engine, session, CHARACTER)
        assert (row.strategy, row.status, len(row.turns), row.character_id) == (strategy, "ok", 4, CHARACTER.id)
        assert len(fake_llm.calls) == calls


async def test_r_needs_answers(engine: EngineConfig) -> None:
    with pytest.raises(UserError, match="no answer to rewrite"):
        await rewrite_session(engine, conversation(["Tell me about your home."]), CHARACTER)


def test_rows_of_a_run_are_those_of_single_calls(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path), fake_llm.base_url, n=1)
    characters, dialogues = run.run()
    before = len(fake_llm.calls)
    config = run._responses()[0]
    sessions = {session.id: session for session in map(conversation, run.conversations)}
    people = {person.id: person for person in read_models(characters.file("characters.jsonl.zst"), CharacterProfile)}
    makers = {"R": rewrite_session, "G": generate_session}
    for row in read_models(dialogues.file("dialogues.jsonl.zst"), DialogueRow):
        single = makers[row.strategy](
            run.engine,
            sessions[row.session_id],
            people[row.character_id],
            config,
            seed=run.seed,
            rows=run.workspace.rows("responses"),
        )
        assert asyncio.run(single) == row
    assert len(fake_llm.calls) == before
