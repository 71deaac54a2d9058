"""The demo's inputs: as many as promised, no row twice, valid, and the final character is new to the model."""

import json
from importlib import resources
from pathlib import Path

import pytest

from opencharacter.characters.profile import CharacterProfile

DEMO = Path(str(resources.files("opencharacter") / "data" / "demo"))


@pytest.fixture(scope="module")
def personas() -> list[str]:
    rows = [json.loads(line) for line in (DEMO / "personas.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(row.keys() == {"persona"} for row in rows)
    return [row["persona"] for row in rows]


@pytest.fixture(scope="module")
def sessions() -> list[list[dict[str, str]]]:
    rows = [json.loads(line) for line in (DEMO / "sessions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(row.keys() == {"messages"} for row in rows)
    return [row["messages"] for row in rows]


def test_there_are_at_least_24_different_personas_of_one_sentence(personas: list[str]) -> None:
    assert len(set(personas)) == len(personas) >= 24
    assert len({" ".join(persona.split()[:4]).lower() for persona in personas}) == len(personas)
    assert all(persona.count(".") == 1 and persona.endswith(".") for persona in personas)


def test_there_are_at_least_24_sessions_a_third_of_several_turns(sessions: list[list[dict[str, str]]]) -> None:
    several = [messages for messages in sessions if len(messages) > 2]
    assert len(sessions) >= 24
    assert len(several) >= max(10, len(sessions) / 3)
    assert any(len(messages) == 6 for messages in several)


def test_every_user_turn_is_answered_once_and_in_short(sessions: list[list[dict[str, str]]]) -> None:
    for messages in sessions:
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(40 <= len(message["content"].split()) <= 90 for message in messages[1::2])


def test_no_message_is_there_twice(sessions: list[list[dict[str, str]]]) -> None:
    texts = [message["content"] for messages in sessions for message in messages]
    assert len(set(texts)) == len(texts)


def test_the_final_character_is_whole_and_was_never_seen(
    personas: list[str], sessions: list[list[dict[str, str]]]
) -> None:
    profile = CharacterProfile.model_validate_json((DEMO / "character.json").read_text(encoding="utf-8"))
    question = (DEMO / "question.txt").read_text(encoding="utf-8").strip()
    assert not profile.missing
    assert profile.persona
    assert profile.persona not in personas
    assert not any(profile.name.split()[0] in text for text in personas)
    assert question
    assert question not in {message["content"] for messages in sessions for message in messages}
