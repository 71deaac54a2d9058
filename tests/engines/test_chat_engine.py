import asyncio
import json
import logging
import time

import pytest
from support.fake_llm import FakeLLM, Fault

from opencharacter.engines import (
    ChatEngine,
    ChatFailed,
    ChatReply,
    EngineConfig,
    EngineDown,
    Sampling,
    open_engine,
    server_request_count,
)
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.system.processes import free_port

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "answers": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3},
    },
    "required": ["name", "answers"],
}


@pytest.fixture
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.engines.chat._FIRST_BACKOFF_S", 0.005)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.engines.limits.FIRST_PATIENCE_S", 0.1)


def config_for(base_url: str, **settings: object) -> EngineConfig:
    return EngineConfig.model_validate({"model": "fake", "base_url": base_url, **settings})


async def ask(engine: ChatEngine, text: str = "Hello", *, seed: int = 1, schema: dict | None = None) -> ChatReply:
    return await engine.chat([{"role": "user", "content": text}], Sampling(), seed=seed, json_schema=schema)


async def test_an_answer_depends_on_the_seed_and_is_accounted_for(fake_llm: FakeLLM) -> None:
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        first = await ask(engine, seed=2**64 - 1)
        again = await ask(engine, seed=2**64 - 1)
        other = await ask(engine, seed=7)
    assert first == again != other
    assert engine.usage == first.usage + again.usage + other.usage
    assert engine.usage.calls == engine.traffic.requests == 3
    assert first.usage.completion_tokens == len(first.text.split())
    seeds = [call.request["seed"] for call in fake_llm.calls]
    assert all(0 <= seed < 2**31 for seed in seeds), "some servers take 32 bits only"
    assert server_request_count(fake_llm.base_url) == 3


async def test_json_schema_is_sent_and_the_reply_says_so(fake_llm: FakeLLM) -> None:
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        reply = await ask(engine, schema=SCHEMA)
    assert reply.structured
    assert len(json.loads(reply.text)["answers"]) == 3


async def test_a_server_without_response_format_is_asked_without_it_from_then_on(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("no_response_format")]
    async with open_engine(config_for(fake_llm.base_url, max_retries=0)) as engine:
        replies = [await ask(engine, text, schema=SCHEMA) for text in ("one", "two")]
    assert [reply.structured for reply in replies] == [False, False]
    assert ["response_format" in call.request for call in fake_llm.calls] == [True, False, False]


async def test_structured_output_can_be_switched_off(fake_llm: FakeLLM) -> None:
    async with open_engine(config_for(fake_llm.base_url, structured_output=False)) as engine:
        assert not (await ask(engine, schema=SCHEMA)).structured
    assert "response_format" not in fake_llm.calls[0].request


@pytest.mark.usefixtures("_short_backoff")
@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "drop", "html"])
async def test_passing_faults_are_retried(fake_llm: FakeLLM, kind: str) -> None:
    fake_llm.faults = [Fault(kind, times=2)]  # type: ignore[arg-type]
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        reply = await ask(engine)
    assert reply.text
    assert reply.usage.calls == 1
    assert (engine.traffic.requests, engine.traffic.retries, engine.traffic.failed_calls) == (3, 2, 0)


@pytest.mark.usefixtures("_short_backoff")
async def test_a_request_that_times_out_is_retried(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("slow", times=1, seconds=60)]
    async with open_engine(config_for(fake_llm.base_url, timeout_s=0.3)) as engine:
        assert (await ask(engine)).text
    assert engine.traffic.retries == 1


async def test_retry_after_is_honoured_in_place_of_the_backoff(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("rate_limit", times=4, seconds=0.01)]
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        started = time.monotonic()
        await ask(engine)
    backoff_alone = (0.5 + 1 + 2 + 4) / 2
    assert 0.04 <= time.monotonic() - started < backoff_alone


@pytest.mark.usefixtures("_short_backoff")
async def test_retries_end_at_the_configured_number(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("server_error", match="bad")]
    async with open_engine(config_for(fake_llm.base_url, max_retries=2)) as engine:
        with pytest.raises(ChatFailed, match="500: something broke") as caught:
            await ask(engine, "bad")
        assert not caught.value.refused
        assert (await ask(engine, "good")).text
    assert fake_llm.outcomes == {"server_error": 3, "ok": 1}
    assert engine.traffic.failed_calls == 1


async def test_a_refused_request_is_not_repeated(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("bad_request")]
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        with pytest.raises(ChatFailed, match="too long") as caught:
            await ask(engine)
    assert caught.value.refused
    assert len(fake_llm.calls) == 1


async def test_an_unknown_model_stops_the_engine_at_once(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("unknown_model")]
    async with open_engine(config_for(fake_llm.base_url)) as engine:
        for _ in range(2):
            with pytest.raises(EngineDown, match="the model does not exist"):
                await ask(engine)
    assert len(fake_llm.calls) == 1


@pytest.mark.usefixtures("_short_backoff", "_impatient")
async def test_a_server_that_always_fails_stops_the_engine_with_url_and_reason(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("server_error")]
    async with open_engine(config_for(fake_llm.base_url, max_retries=1000)) as engine:
        with pytest.raises(EngineDown, match=f"{fake_llm.base_url} does not answer: 500: something broke") as caught:
            await ask(engine)
    assert "base_url" in str(caught.value.hint)


async def test_a_server_that_refuses_nearly_every_request_stops_the_engine(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("bad_request")]
    async with open_engine(config_for(fake_llm.base_url, concurrency=4)) as engine:
        outcomes = await asyncio.gather(*(ask(engine, f"row {i}") for i in range(100)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ChatFailed, EngineDown}
    assert len(fake_llm.calls) < 30


async def test_a_server_that_is_not_there_ends_within_thirty_seconds() -> None:
    started = time.monotonic()
    async with open_engine(config_for(f"http://127.0.0.1:{free_port()}/v1")) as engine:
        outcomes = await asyncio.gather(*(ask(engine, str(i)) for i in range(50)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {EngineDown}
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("_short_backoff")
async def test_a_server_that_comes_back_costs_no_retry_of_the_request() -> None:
    port = free_port()
    async with open_engine(config_for(f"http://127.0.0.1:{port}/v1", max_retries=0)) as engine:
        answer = asyncio.create_task(ask(engine))
        while engine.traffic.requests < 2:
            await asyncio.sleep(0)
        with FakeLLM(port=port):
            assert (await answer).text


async def test_requests_under_way_are_bounded() -> None:
    with FakeLLM(delay_s=0.01) as server:
        async with open_engine(config_for(server.base_url, concurrency=4)) as engine:
            await asyncio.gather(*(ask(engine, str(i)) for i in range(24)))
    assert server.most_at_once == 4


async def test_rate_limits_lower_the_concurrency_and_successes_raise_it_again(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("rate_limit", times=1, match="busy")]
    async with open_engine(config_for(fake_llm.base_url, concurrency=8)) as engine:
        await ask(engine, "busy")
        assert engine.concurrency == 6
        await asyncio.gather(*(ask(engine, str(i)) for i in range(50)))
        assert engine.concurrency == 8


async def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(UserError, match="TEACHER_KEY"):
        async with open_engine(config_for("http://127.0.0.1:9/v1", api_key_env="TEACHER_KEY")):
            pass


async def test_the_key_is_sent_but_shown_nowhere(
    fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", "the secret")
    fake_llm.faults = [Fault("echo_key")]
    async with open_engine(config_for(fake_llm.base_url, api_key_env="TEACHER_KEY")) as engine:
        with pytest.raises(ChatFailed, match=r"Bearer \*\*\*"):
            await ask(engine)
    assert "the secret" not in caplog.text


async def test_an_engine_with_neither_server_nor_weights_is_refused() -> None:
    with pytest.raises(UserError, match="neither base_url nor weights"):
        async with open_engine(EngineConfig(model="m")):
            pass


def test_request_count_of_a_server_that_is_not_there() -> None:
    with pytest.raises(OpenCharacterError, match="/metrics cannot be read"):
        server_request_count(f"http://127.0.0.1:{free_port()}/v1")
