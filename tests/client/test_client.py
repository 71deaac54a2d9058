"""The OpenAI client with a character: what its calls send, in each way to call."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from support.fake_llm import FakeLLM

from opencharacter.characters.profile import CharacterProfile, Provenance
from opencharacter.client import AsyncOpenCharacter, OpenCharacter

ADA = CharacterProfile(name="Ada", age="36", provenance=Provenance(source="made up", licence="CC0-1.0"))
SENT = {"character": {"name": "Ada", "age": "36"}, "scenario": "A dance hall", "user_name": "Tom"}
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(answer=lambda request: "Good evening.") as server:
        yield server


@pytest.fixture
def client(llm: FakeLLM) -> Iterator[OpenCharacter]:
    llm.calls.clear()
    with OpenCharacter(base_url=llm.base_url, api_key="none", max_retries=0) as client:
        yield client


def _sent(llm: FakeLLM) -> dict[str, Any]:
    """What the last call had besides OpenAI's own fields."""
    request = llm.calls[-1].request
    return {name: value for name, value in request.items() if name not in ("model", "messages", "stream")}


def test_every_way_to_call_carries_the_character(client: OpenCharacter, llm: FakeLLM) -> None:
    ada = client.playing(ADA, scenario="A dance hall", user_name="Tom")
    whole = ada.chat.completions.create(model="fake", messages=MESSAGES)
    assert whole.choices[0].message.content == "Good evening."
    assert _sent(llm) == SENT

    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in ada.chat.completions.create(model="fake", messages=MESSAGES, stream=True)
    ]
    assert "".join(pieces) == "Good evening."
    assert _sent(llm) == SENT

    with ada.chat.completions.stream(model="fake", messages=MESSAGES) as stream:
        stream.until_done()
    assert _sent(llm) == SENT

    ada.chat.completions.with_raw_response.create(model="fake", messages=MESSAGES)
    assert _sent(llm) == SENT

    ada.with_options(timeout=5).chat.completions.create(model="fake", messages=MESSAGES)
    assert _sent(llm) == SENT


def test_the_asynchronous_client_carries_it_too(llm: FakeLLM) -> None:
    async def call() -> str:
        async with AsyncOpenCharacter(base_url=llm.base_url, api_key="none") as client:
            ada = client.playing(ADA, scenario="A dance hall", user_name="Tom")
            stream = await ada.chat.completions.create(model="fake", messages=MESSAGES, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(call()) == "Good evening."
    assert _sent(llm) == SENT


def test_clients_keep_apart(client: OpenCharacter, llm: FakeLLM) -> None:
    ada, bob = client.playing("A poet"), client.playing({"name": "Bob"}, greeting="Hello?")
    bob.chat.completions.create(model="fake", messages=MESSAGES)
    assert _sent(llm) == {"character": {"name": "Bob"}, "greeting": "Hello?"}
    ada.chat.completions.create(model="fake", messages=MESSAGES)
    assert _sent(llm) == {"character": "A poet"}
    client.chat.completions.create(model="fake", messages=MESSAGES)
    assert _sent(llm) == {}


def test_a_call_has_the_last_word(client: OpenCharacter, llm: FakeLLM) -> None:
    ada = client.playing(ADA, scenario="A dance hall")
    ada.chat.completions.create(model="fake", messages=MESSAGES, extra_body={"scenario": "At sea", "top_k": 40})
    assert _sent(llm) == {"character": SENT["character"], "scenario": "At sea", "top_k": 40}


def test_other_calls_stay_as_they_are(client: OpenCharacter) -> None:
    ada = client.playing(ADA)
    assert [model.id for model in ada.models.list()] == ["fake"]
    with pytest.raises(openai.NotFoundError):
        ada.embeddings.create(model="fake", input="hello")


def test_a_character_is_given_in_one_way(client: OpenCharacter) -> None:
    with pytest.raises(ValueError, match="not both"):
        client.playing(ADA, character_id="ada")
