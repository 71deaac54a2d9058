"""The real transformer process before a fake model server: what the model is sent, and what callers get back."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from support.fake_llm import FakeLLM, Fault

from opencharacter.characters import render_profile, system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.serving import Server, run_transformer

PROFILE = CharacterProfile(
    name="Ilse Brandt",
    age="61",
    birth_place="Łódź",
    personality="Dry, patient; says {{name}} and 'quite so'.",
    persona="A lighthouse keeper who writes letters 🦊",
)
HELLO = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(delay_s=0.05, model="ilse") as server:
        yield server


@pytest.fixture(scope="module")
def front(llm: FakeLLM, model_dir: Path) -> Iterator[Server]:
    with run_transformer(f"127.0.0.1:{llm.port}", "ilse", model_dir=model_dir) as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh(llm: FakeLLM) -> None:
    llm.calls.clear()
    llm.faults = []
    llm.most_at_once = 0


@pytest.fixture
def client(front: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as made:
        yield made


def character(profile: CharacterProfile = PROFILE) -> dict[str, object]:
    return {"character": profile.model_dump(mode="json")}


def test_the_model_gets_the_prompt_of_training_byte_for_byte(client: openai.OpenAI, llm: FakeLLM) -> None:
    answer = client.chat.completions.create(model="ilse", messages=HELLO, temperature=0.5, extra_body=character())
    assert answer.choices[0].message.content
    expected = [{"role": "system", "content": system_prompt(PROFILE)}, *HELLO]
    assert llm.calls[0].request == {"model": "ilse", "messages": expected, "temperature": 0.5}


def test_streaming_gives_the_same_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="ilse", messages=HELLO, extra_body=character())
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="ilse", messages=HELLO, stream=True, stream_options=options, extra_body=character()
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_the_model_server_always_tells_the_usage_and_callers_get_it_where_they_ask(
    client: openai.OpenAI, llm: FakeLLM
) -> None:
    with client.chat.completions.create(model="ilse", messages=HELLO, stream=True) as stream:
        assert all(chunk.choices and chunk.usage is None for chunk in stream)
    assert llm.calls[0].request["stream_options"]["include_usage"] is True


def test_a_profile_in_text_form_is_the_same_character(client: openai.OpenAI, llm: FakeLLM) -> None:
    profile = PROFILE.model_copy(update={"persona": None})
    client.chat.completions.create(model="ilse", messages=HELLO, extra_body=character(profile))
    client.chat.completions.create(model="ilse", messages=HELLO, extra_body={"character": render_profile(profile)})
    assert llm.calls[0].request == llm.calls[1].request


def test_without_a_character_it_is_an_ordinary_chat(client: openai.OpenAI, llm: FakeLLM) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    client.chat.completions.create(model="ilse", messages=messages)
    assert llm.calls[0].request["messages"] == messages


def test_the_stock_client_shows_which_field_is_wrong(client: openai.OpenAI, llm: FakeLLM) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="character: needs a name or a persona"):
        client.chat.completions.create(model="ilse", messages=HELLO, extra_body={"character": {"age": "61"}})
    with pytest.raises(openai.UnprocessableEntityError, match=r"character\.name") as caught:
        client.chat.completions.create(model="ilse", messages=HELLO, extra_body={"character": {"name": ["Ilse"]}})
    assert caught.value.param == "character.name"
    with pytest.raises(openai.UnprocessableEntityError, match="chat_template"):
        client.chat.completions.create(model="ilse", messages=HELLO, extra_body={"chat_template": "{{ 1 }}"})
    assert not llm.calls


def test_a_huge_request_is_refused_before_it_is_parsed(front: Server, llm: FakeLLM) -> None:
    url = f"{front.url}/chat/completions"
    assert httpx.post(url, content=b" " * (5 << 20)).status_code == 413
    pieces = (b" " * (1 << 20) for _ in range(5))
    assert httpx.post(url, content=pieces).status_code == 413
    assert not llm.calls


def test_the_model_servers_own_refusal_passes(client: openai.OpenAI, llm: FakeLLM) -> None:
    llm.faults = [Fault("rate_limit")]
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        client.chat.completions.create(model="ilse", messages=HELLO)
    assert "retry-after" in caught.value.response.headers
    llm.faults = [Fault("bad_request")]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="too long for this model"):
            client.chat.completions.create(model="ilse", messages=HELLO, stream=stream)


def test_a_header_names_what_was_dropped(client: openai.OpenAI) -> None:
    for stream in (False, True):
        answer = client.chat.completions.with_raw_response.create(
            model="ilse", messages=HELLO, stream=stream, extra_body={"verbosity": "low", "chat_id": "1"}
        )
        assert answer.headers["x-dropped-fields"] == "verbosity, chat_id"
        answer.http_response.close()
    plain = client.chat.completions.with_raw_response.create(model="ilse", messages=HELLO)
    assert "x-dropped-fields" not in plain.headers


@pytest.mark.parametrize("path", ["tokenize", "openai/v1/tokenize"])
def test_the_tokens_of_a_character_s_prompt_are_counted_and_not_returned(front: Server, path: str) -> None:
    root = front.url.removesuffix("/openai/v1")
    answer = httpx.post(f"{root}/{path}", json={"messages": HELLO, **character()})
    assert answer.json() == {
        "count": len(f"{system_prompt(PROFILE)} Who are you?".split()),
        "max_model_len": 4096,
    }
    assert httpx.post(f"{root}/{path}", json={"prompt": "hello"}).json()["error"]["param"] == "messages"


@pytest.mark.parametrize("route", ["completions", "responses", "embeddings", "images/generations"])
def test_a_route_that_is_not_served_says_why(client: openai.OpenAI, route: str) -> None:
    with pytest.raises(openai.NotFoundError, match=f"{route} is not served: it") as caught:
        client.post(f"/{route}", body={"model": "ilse", "prompt": "hello", "input": "hello"}, cast_to=object)
    assert caught.value.code == "route_not_supported"


def test_both_prefixes_and_kserves_own_routes_are_served(front: Server) -> None:
    root = front.url.removesuffix("/openai/v1")
    listed = [httpx.get(f"{root}{prefix}/models").json() for prefix in ("/v1", "/openai/v1")]
    assert listed[0] == listed[1]
    assert (listed[0]["data"][0]["id"], listed[0]["models"]) == ("ilse", ["ilse"])
    assert httpx.post(f"{root}/v1/chat/completions", json={"model": "x", "messages": HELLO}).status_code == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/ilse/ready", "/v1/models/ilse", "/metrics"):
        assert httpx.get(root + path).status_code == 200, path
    assert httpx.post(f"{root}/v1/models/ilse:predict", json={"instances": []}).status_code == 501


def test_the_engines_metrics_pass_through(front: Server) -> None:
    answer = httpx.get(front.url.removesuffix("/openai/v1") + "/metrics/engine")
    assert answer.status_code == 200
    assert "vllm:request_success_total" in answer.text


async def test_32_streams_at_once_each_get_their_own_answer(front: Server, llm: FakeLLM) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> tuple[str, str]:
        profile = PROFILE.model_copy(update={"name": f"Twin {number}"})
        stream = await client.chat.completions.create(
            model="ilse", messages=HELLO, stream=True, seed=number, extra_body=character(profile)
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        messages = [{"role": "system", "content": system_prompt(profile)}, *HELLO]
        return text, llm._answer({"model": "ilse", "messages": messages, "seed": number})

    async with openai.AsyncOpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        answers = await asyncio.gather(*(ask(client, number) for number in range(32)))
    assert all(got == expected for got, expected in answers)
    assert len({got for got, _ in answers}) == 32
    assert llm.most_at_once > 8


def test_unreadable_bodies_never_cost_the_server(front: Server) -> None:
    rng = random.Random(7)
    good = json.dumps({"model": "ilse", "messages": HELLO, **character()}).encode()
    with httpx.Client() as client:
        for _ in range(40):
            body = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            status = client.post(f"{front.url}/chat/completions", content=bytes(body)).status_code
            assert status in (200, 400, 422)
