"""What the chat engine does about a fault: how far it reaches, and what is asked again."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError
from support.fake_llm import FakeLLM

from opencharacter.engines import ChatEngine, ChatFailed, ChatReply, EngineConfig, EngineDown, Sampling, open_engine
from opencharacter.engines.engine_config import RequestConfig
from opencharacter.errors import UserError

SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3000}}, "required": ["name"]}

Rule = Callable[[dict[str, Any], int], tuple[int, dict[str, Any]] | None]
"""Status and JSON in place of an answer to a request, which is the n-th (from 0); None: the usual answer."""


@contextmanager
def server(rule: Rule, **more: Any) -> Iterator[FakeLLM]:
    with FakeLLM(rule=rule, **more) as fake:
        yield fake


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.engines.chat._FIRST_BACKOFF_S", 0.001)


def config_for(fake: FakeLLM, **settings: object) -> EngineConfig:
    return EngineConfig.model_validate({"model": "fake", "base_url": fake.base_url, **settings})


def refuse(status: int, message: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, **more}}


async def ask(engine: ChatEngine, text: str = "Hello", schema: dict[str, Any] | None = None) -> ChatReply:
    messages = [{"role": "system", "content": "You are Bo."}, {"role": "user", "content": text}]
    return await engine.chat(messages, Sampling(), seed=1, json_schema=schema)


async def ask_all(engine: ChatEngine, texts: list[str]) -> list[type]:
    outcomes = await asyncio.gather(*(ask(engine, text) for text in texts), return_exceptions=True)
    return [type(outcome) for outcome in outcomes]


async def test_too_many_requests_never_use_up_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers every tenth request answers all rows, with no retry allowed."""
    monkeypatch.setattr("opencharacter.engines.chat._LONGEST_BUSY_BACKOFF_S", 0.01)
    with server(lambda _, n: None if n % 10 == 0 else refuse(429, "slow down")) as fake:
        async with open_engine(config_for(fake, max_retries=0, concurrency=64)) as engine:
            kinds = await ask_all(engine, [f"row {i}" for i in range(40)])
    assert set(kinds) == {ChatReply}


async def test_a_server_that_asks_to_come_back_at_once_is_not_asked_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("opencharacter.engines.chat._FIRST_BACKOFF_S", 0.01)
    wait_for = asyncio.wait_for

    async def noted(awaited: Any, timeout: float | None) -> Any:
        pauses.append(timeout or 0.0)
        return await wait_for(awaited, timeout)

    monkeypatch.setattr("opencharacter.engines.chat.asyncio.wait_for", noted)
    with server(lambda _, n: refuse(429, "Please try again in 0s.") if n < 3 else None) as fake:
        async with open_engine(config_for(fake)) as engine:
            await ask(engine)
    assert min(pauses) > 0.001


async def test_a_server_that_is_busy_for_too_long_stops_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.engines.server_standing.BUSY_PATIENCE_S", 0.0)
    with server(lambda *_: refuse(429, "slow down")) as fake:
        async with open_engine(config_for(fake)) as engine:
            with pytest.raises(EngineDown, match="slow down"):
                await ask(engine)


@pytest.mark.parametrize(
    "refusal",
    [
        refuse(401, "Incorrect API key provided"),
        refuse(402, "Insufficient credits"),
        refuse(429, "You exceeded your current quota", code="insufficient_quota"),
        refuse(403, "Forbidden"),
        (200, {"error": {"code": 402, "message": "Insufficient credits"}}),
    ],
)
async def test_a_fault_of_the_account_stops_the_engine_at_the_first_request(refusal: tuple[int, dict]) -> None:
    with server(lambda *_: refusal) as fake:
        async with open_engine(config_for(fake)) as engine:
            for _ in range(2):
                with pytest.raises(EngineDown, match=refusal[1]["error"]["message"]):
                    await ask(engine)
        assert len(fake.calls) == 1


@pytest.mark.parametrize("position", [0, 3, 7])
async def test_one_403_among_answered_requests_is_of_that_request_alone(position: int) -> None:
    """Also where it comes before the first answer, since moderation is faster than the model."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(403, "not this one") if f"row {position}" in json.dumps(request) else None

    with server(rule, delay_s=0.02) as fake:
        async with open_engine(config_for(fake, concurrency=8)) as engine:
            kinds = await ask_all(engine, [f"row {i}" for i in range(8)])
            with pytest.raises(ChatFailed, match="not this one") as caught:
                await ask(engine, f"row {position}")
    assert [i for i, kind in enumerate(kinds) if kind is not ChatReply] == [position]
    assert (caught.value.refused, caught.value.reason) == (True, "refused_by_server")


async def test_403_from_now_on_stops_the_engine() -> None:
    with server(lambda _, n: refuse(403, "the key was withdrawn") if n else None) as fake:
        async with open_engine(config_for(fake, concurrency=1)) as engine:
            kinds = await ask_all(engine, [f"row {i}" for i in range(30)])
    assert kinds.count(EngineDown) > 15


@pytest.mark.parametrize(
    ("message", "fields", "hint"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         {"rename": {"max_tokens": "max_completion_tokens"}}, "max_tokens: max_completion_tokens"),
        ("property 'seed' is unsupported", {"omit": ["seed"]}, "omit: [seed]"),
        ("Unsupported value: 'temperature' does not support 0.8 with this model.", {"omit": ["temperature"]}, "omit"),
        ("System role not supported", {"system_role": "merge"}, "system_role: merge"),
    ],
)  # fmt: skip
async def test_a_parameter_that_is_not_taken_stops_the_run_and_a_setting_keeps_it_away(
    message: str, fields: dict[str, Any], hint: str
) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        fits = (
            "max_completion_tokens" in request,
            "seed" not in request,
            "temperature" not in request,
            request["messages"][0]["role"] == "user",
        )
        return None if fits[list(CASES).index(hint)] else refuse(400, message)

    with server(rule) as fake:
        async with open_engine(config_for(fake, concurrency=4)) as engine:
            kinds = await ask_all(engine, [f"row {i}" for i in range(9)])
            with pytest.raises(EngineDown, match="does not take") as caught:
                await ask(engine)
        assert set(kinds) == {EngineDown}
        assert hint in str(caught.value.hint)
        async with open_engine(config_for(fake, request=fields)) as engine:
            assert (await ask(engine)).text


CASES = ("max_tokens: max_completion_tokens", "omit: [seed]", "omit", "system_role: merge")


async def test_a_parameter_that_other_requests_may_have_concerns_the_row_alone() -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "max_tokens must be at least 1, got -20") if "long" in json.dumps(request) else None

    with server(rule) as fake:
        async with open_engine(config_for(fake)) as engine:
            assert await ask_all(engine, ["long row", "row 1", "row 2"]) == [ChatFailed, ChatReply, ChatReply]


async def test_a_parameter_stops_the_run_though_requests_of_another_kind_are_answered() -> None:
    """G is answered, and R asks for more tokens than the server gives."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "max_tokens is too large: 9000") if request["max_tokens"] > 4096 else None

    with server(rule) as fake:
        async with open_engine(config_for(fake)) as engine:
            await ask(engine)
            with pytest.raises(EngineDown, match="does not take 'max_tokens'"):
                await engine.chat([{"role": "user", "content": "R"}], Sampling(max_tokens=9000), seed=1)


async def test_a_row_of_a_new_kind_waits_for_those_like_it() -> None:
    """Its refusal names a parameter, and comes before the first answer of its kind."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, "max_tokens must be at least 1, got -20") if "long" in json.dumps(request) else None

    with server(rule, delay_s=0.02) as fake:
        async with open_engine(config_for(fake)) as engine:
            await engine.chat([{"role": "user", "content": "another kind"}], Sampling(), seed=1)
            assert await ask_all(engine, ["long", "one", "two"]) == [ChatFailed, ChatReply, ChatReply]


@pytest.mark.parametrize("role", ["developer", "user", "merge"])
async def test_the_system_message_goes_under_another_role(fake_llm: FakeLLM, role: str) -> None:
    async with open_engine(config_for(fake_llm, request={"system_role": role, "add": {"top_k": 20}})) as engine:
        await ask(engine)
    sent = fake_llm.calls[0].request
    assert sent["top_k"] == 20
    assert [message["role"] for message in sent["messages"]] == (["user"] if role == "merge" else [role, "user"])
    assert sent["messages"][0]["content"].startswith("You are Bo.")
    assert sent["messages"][-1]["content"].endswith("Hello")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"omit": ["foo"]}, "omit"),
        ({"rename": {"foo": "bar"}}, "rename"),
        ({"rename": {"max_tokens": "temperature"}}, "temperature would be sent twice"),
        ({"rename": {"max_tokens": "limit", "seed": "limit"}}, "limit would be sent twice"),
        ({"rename": {"seed": "messages"}}, "messages would be sent twice"),
        ({"add": {"seed": 1}}, "seed cannot be set here"),
        ({"add": {"messages": []}}, "messages cannot be set here"),
        ({"rename": {"seed": "random_seed"}, "add": {"random_seed": 1}}, "random_seed would be sent twice"),
        ({"system_role": "tool"}, "system_role"),
    ],
)
def test_settings_of_a_request_that_cannot_be_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RequestConfig.model_validate(settings)


def test_a_name_that_becomes_free_may_be_used() -> None:
    RequestConfig.model_validate({"omit": ["temperature"], "rename": {"top_p": "temperature"}, "add": {"top_k": 4}})


@pytest.mark.parametrize("words", ["Failed to initialize samplers: failed to parse grammar", "Grammar error: x"])
async def test_a_schema_that_the_grammar_does_not_take_is_left_out(words: str) -> None:
    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        return refuse(400, words) if "3000" in json.dumps(request.get("response_format")) else None

    short = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 10}}, "required": ["name"]}
    with server(rule) as fake:
        async with open_engine(config_for(fake, max_retries=0)) as engine:
            replies = [await ask(engine, text, schema) for text, schema in (("a", SCHEMA), ("b", SCHEMA), ("c", short))]
        assert [reply.structured for reply in replies] == [False, False, True]
        assert ["response_format" in call.request for call in fake.calls] == [True, False, False, True]


def bounded(most: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"name": {"type": "string", "maxLength": most}}, "required": ["name"]}


async def test_schemas_that_differ_by_row_are_not_refused_one_by_one() -> None:
    """R's schemas have bounds by the answers that are rewritten, so hardly two are the same."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]] | None:
        sent = request.get("response_format")
        most = sent["json_schema"]["schema"]["properties"]["name"]["maxLength"] if sent else 0
        return refuse(400, "failed to parse grammar") if most > 2000 else None

    with server(rule) as fake:
        async with open_engine(config_for(fake)) as engine:
            replies = [await ask(engine, f"row {n}", bounded(3000 - 10 * n)) for n in (0, 40, 99, 50, 98, 150)]
    assert [reply.structured for reply in replies] == [False] * 5 + [True]
    assert fake.outcomes["ruled"] == 3, "each with a smaller bound than those before"
    with server(lambda request, _: refuse(400, "Grammar error") if "response_format" in request else None) as fake:
        async with open_engine(config_for(fake)) as engine:
            for n in range(40):
                await ask(engine, "row", {"type": "object", "properties": {f"name{n}": {"type": "string"}}})
    assert fake.outcomes["ruled"] == 17


async def test_json_that_the_server_rejects_is_for_the_next_attempt() -> None:
    with server(lambda *_: refuse(400, "Failed to generate JSON.", code="json_validate_failed")) as fake:
        async with open_engine(config_for(fake)) as engine:
            for _ in range(60):
                with pytest.raises(ChatFailed) as caught:
                    await ask(engine, schema=SCHEMA)
        assert (caught.value.refused, caught.value.reason) == (False, "invalid_json")
        assert len(fake.calls) == 60


async def test_an_answer_that_ends_with_an_error_is_asked_again() -> None:
    def rule(_: dict[str, Any], n: int) -> tuple[int, dict[str, Any]] | None:
        choice = {"message": {"content": "Half a sen"}, "finish_reason": "error"}
        return (200, {"choices": [choice]}) if n == 0 else None

    with server(rule) as fake:
        async with open_engine(config_for(fake)) as engine:
            assert (await ask(engine)).text != "Half a sen"
        assert engine.traffic.retries == 1


@pytest.mark.parametrize(("usual", "problem"), [("Hm.\n</think>\n\nAhoy.", "truncated"), ("Ahoy.", None)])
async def test_thoughts_that_are_cut_off_and_bear_no_mark_are_known_by_the_other_replies(
    usual: str, problem: str | None
) -> None:
    """Many templates open the thoughts themselves, so a reply that ends within them has no mark at all."""

    def rule(request: dict[str, Any], _: int) -> tuple[int, dict[str, Any]]:
        cut_off = "long" in json.dumps(request["messages"])
        message = {"content": "The user wants a story. I" if cut_off else usual}
        return 200, {"choices": [{"message": message, "finish_reason": "length" if cut_off else "stop"}]}

    with server(rule) as fake:
        async with open_engine(config_for(fake)) as engine:
            assert (await ask(engine, "short")).text == "Ahoy."
            assert (await ask(engine, "a long one")).problem == problem


KEY = "sk-Ab/9+c=d"


@pytest.mark.parametrize("around", ["{}\n", " {}", "\r\n{}\t", "\ufeff{}"])
async def test_a_key_is_stripped(fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch, around: str) -> None:
    monkeypatch.setenv("TEACHER_KEY", around.format(KEY))
    async with open_engine(config_for(fake_llm, api_key_env="TEACHER_KEY")) as engine:
        await ask(engine)
    assert fake_llm.calls[0].authorization == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-\x07bell", "sk-ключ", "sk-\u200bspace", "sk-é"])
async def test_a_key_that_is_no_header_is_refused_by_its_variable(
    fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("TEACHER_KEY", key)
    with pytest.raises(UserError, match="TEACHER_KEY") as caught:
        async with open_engine(config_for(fake_llm, api_key_env="TEACHER_KEY")):
            pass
    shown = f"{caught.value} {caught.value.hint}"
    assert not any(part in shown for part in (key, "sk-", repr(key)[1:-1]))
    assert not fake_llm.calls
