"""The chat engine: every LLM call of every step goes through it (docs/design.md, decision 5)."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from opencharacter.engines.engine_config import EngineConfig, Sampling
from opencharacter.engines.faults import Fault, FaultKind, classify_answer, classify_exception
from opencharacter.engines.limits import ConcurrencyLimit, Health
from opencharacter.engines.transport import HttpAnswer, Transport, TransportError
from opencharacter.errors import OpenCharacterError
from opencharacter.records.models import Usage

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 10.0
_SEED_RANGE = 2**31
_PATH = "/chat/completions"
_DOWN_HINT = (
    "check the server and the engine's base_url, model and api_key_env; what is finished is kept, "
    "so the same command continues where this one stopped"
)


class EngineDown(OpenCharacterError):
    """The model server is gone or fails nearly every request."""


class ChatFailed(OpenCharacterError):
    """One call failed for good; others may succeed.

    `refused`: the server rejected the request itself (too long, for example), so a retry would not help.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class ChatReply:
    """What the model said."""

    text: str
    finish_reason: str | None
    usage: Usage
    structured: bool
    """Whether the server was asked to follow the JSON schema; otherwise the text may not be valid JSON."""


@dataclass
class Traffic:
    """HTTP requests of one engine, failed ones included."""

    requests: int = 0
    retries: int = 0
    failed_calls: int = 0


class ChatEngine:
    """Calls one chat model with bounded concurrency, retries and accounting. Get one from `open_engine`."""

    def __init__(self, config: EngineConfig, connect: Callable[[], Awaitable[str]], *, api_key: str | None) -> None:
        """`connect` gives the base URL; it is awaited once, at the first call."""
        self.config = config
        self.usage = Usage()
        """Answered calls and their tokens."""
        self.traffic = Traffic()
        self._connect = connect
        self._api_key = api_key
        self._transport: asyncio.Task[Transport] | None = None
        self._limit = ConcurrencyLimit(config.concurrency)
        self._health = Health()
        self._structured = config.structured_output
        self._base_url = config.base_url or "the model server"
        self._down: str | None = None
        self._stopped = asyncio.Event()

    @property
    def concurrency(self) -> int:
        """Requests allowed at once, now: the configured number, or fewer while the server is busy."""
        return self._limit.limit

    async def room(self) -> None:
        """Wait until a request could start at once; requests that wait for their turn come first."""
        await self._limit.room()

    async def chat(
        self,
        messages: list[dict[str, str]],
        sampling: Sampling,
        *,
        seed: int,
        json_schema: dict[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Ask for one answer. `extra` holds fields of the request that the server is known to take.

        `seed` may be any integer; it is folded to 31 bits, which every server takes. Raises `ChatFailed` if this call
        failed for good, `EngineDown` if the server counts as down.
        """
        request: dict[str, Any] = {
            "model": self.config.model,
            "messages": messages,
            "seed": seed % _SEED_RANGE,
            **sampling.model_dump(),
            **(extra or {}),
        }
        async with self._limit.slot():
            self._raise_if_down()
            return await self._ask(await self._ready(), request, json_schema)

    def start(self) -> None:
        """Start the server, if it is one of ours, before the first call; its errors are those of the first call."""
        if self._transport is None:
            self._transport = asyncio.create_task(self._connected())

    async def close(self) -> None:
        """End the connections, and the start of a server that is still under way."""
        if self._transport is None:
            return
        self._transport.cancel()
        await asyncio.wait([self._transport])
        if not self._transport.cancelled() and self._transport.exception() is None:
            await self._transport.result().close()

    async def _ready(self) -> Transport:
        self.start()
        assert self._transport is not None
        return await asyncio.shield(self._transport)

    async def _connected(self) -> Transport:
        self._base_url = await self._connect()
        return Transport(self._base_url, api_key=self._api_key, timeout_s=self.config.timeout_s)

    async def _ask(self, transport: Transport, request: dict[str, Any], schema: dict[str, Any] | None) -> ChatReply:
        attempts = counted = 0
        while True:
            structured = schema is not None and self._structured
            started = time.monotonic()
            outcome = await self._attempt(transport, request | _response_format(schema) if structured else request)
            if not isinstance(outcome, Fault):
                return self._succeed(outcome, structured=structured)
            if outcome.kind is FaultKind.UNSUPPORTED_FORMAT and structured:
                self._structured = False
                continue
            self._note(outcome, started)
            counted += outcome.kind is not FaultKind.UNREACHABLE
            if not outcome.retryable or counted > self.config.max_retries:
                self._give_up(outcome)
            await self._pause(outcome.retry_after_s, attempts)
            self.traffic.retries += 1
            attempts += 1

    async def _attempt(self, transport: Transport, request: dict[str, Any]) -> dict[str, Any] | Fault:
        self.traffic.requests += 1
        try:
            answer = await transport.post(_PATH, _encode(request))
        except TransportError as error:
            outcome: dict[str, Any] | Fault = classify_exception(error)
        else:
            outcome = _read(answer) if answer.status == 200 else classify_answer(answer)
        if isinstance(outcome, Fault):
            return replace(outcome, message=self._redact(outcome.message))
        return outcome

    def _succeed(self, completion: dict[str, Any], *, structured: bool) -> ChatReply:
        choice, counts = completion["choices"][0], completion.get("usage") or {}
        usage = Usage(
            calls=1,
            prompt_tokens=counts.get("prompt_tokens") or 0,
            completion_tokens=counts.get("completion_tokens") or 0,
        )
        self.usage += usage
        self._limit.succeeded()
        self._health.succeeded()
        return ChatReply(choice["message"].get("content") or "", choice.get("finish_reason"), usage, structured)

    def _note(self, fault: Fault, started: float) -> None:
        """Apply a fault to the engine as a whole: fewer requests, or stop."""
        if fault.kind is FaultKind.BUSY:
            self._limit.refused(started)
        elif fault.kind is FaultKind.FATAL:
            self._stop(f"{self._base_url} refuses every request: {fault.message}")
        elif fault.retryable:
            self._health.failed()
            if self._health.is_down:
                self._stop(f"{self._base_url} does not answer: {fault.message}")

    def _give_up(self, fault: Fault) -> NoReturn:
        self.traffic.failed_calls += 1
        self._health.gave_up()
        if self._health.is_down:
            self._stop(f"{self._base_url} fails nearly every request: {fault.message}")
        raise ChatFailed(f"{self._base_url}: {fault.message}", refused=fault.kind is FaultKind.BAD_REQUEST)

    def _stop(self, message: str) -> NoReturn:
        self._down = self._down or message
        self._stopped.set()
        raise EngineDown(self._down, hint=_DOWN_HINT)

    def _raise_if_down(self) -> None:
        if self._down is not None:
            raise EngineDown(self._down, hint=_DOWN_HINT)

    async def _pause(self, asked_s: float | None, attempts: int) -> None:
        """Wait as long as the server asked, or by exponential backoff with jitter; cut short when the engine stops."""
        backoff = min(_FIRST_BACKOFF_S * 2**attempts, _LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), backoff if asked_s is None else asked_s)
        self._raise_if_down()

    def _redact(self, message: str) -> str:
        return message.replace(self._api_key, "***") if self._api_key else message


def _encode(request: dict[str, Any]) -> bytes:
    text = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair has no UTF-8; Python's escape of it is JSON's as well.
    return text.encode("utf-8", "backslashreplace")


def _read(answer: HttpAnswer) -> dict[str, Any] | Fault:
    try:
        completion = json.loads(answer.body)
    except ValueError:
        completion = None
    # A proxy's HTML page or a bare error object comes under status 200 as well.
    if not isinstance(completion, dict) or not completion.get("choices"):
        return Fault(FaultKind.BROKEN, "the answer is not a chat completion")
    return completion


def _response_format(schema: dict[str, Any] | None) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}}
