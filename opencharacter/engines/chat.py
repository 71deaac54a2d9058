"""The chat engine: every LLM call of every step goes through it (docs/design.md, decision 5)."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from opencharacter.engines.engine_config import EngineConfig, Sampling
from opencharacter.engines.faults import Fault, FaultKind, classify_answer, classify_exception, remedy
from opencharacter.engines.limits import ConcurrencyLimit, Health
from opencharacter.engines.replicas import Endpoint, Replicas, Seat
from opencharacter.engines.replies import ChatReply, read_reply
from opencharacter.engines.requests import build_request, with_schema
from opencharacter.engines.server_standing import ServerStanding, Shape
from opencharacter.engines.spending import Budget
from opencharacter.engines.transport import Transport, TransportError
from opencharacter.errors import OpenCharacterError
from opencharacter.records.models import Usage

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 10.0
_LONGEST_BUSY_BACKOFF_S = 30.0
_LONGEST_WAIT_S = 120.0
_PATH = "/chat/completions"
_DOWN_HINT = (
    "check the server and the engine's base_url, model and api_key_env; if it is slow, set a longer timeout_s or "
    "a lower concurrency; what is finished is kept, so the same command continues where this one stopped"
)
_BUDGET_HINT = "what is finished is kept: the same command continues, with the same budget again"


class EngineDown(OpenCharacterError):
    """The model server is gone, refuses every request, or fails nearly every one.

    `answers`: it still answers the requests that are under way.
    """

    def __init__(self, message: str, *, hint: str | None = None, answers: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.answers = answers

    def again(self) -> "EngineDown":
        """The same error, to be raised in another call."""
        return type(self)(str(self), hint=self.hint, answers=self.answers)


class BudgetSpent(EngineDown):
    """The next call could cost more than is left of the budget. What is under way is still answered."""


class ChatFailed(OpenCharacterError):
    """One call failed for good; others may succeed.

    `refused`: the server rejected the request itself (too long, for example), so a retry would not help. `reason`: the
    name under which the row is rejected; none: a later run may ask again.
    """

    def __init__(self, message: str, *, refused: bool = False, reason: str | None = None) -> None:
        super().__init__(message)
        self.refused = refused
        self.reason = reason


@dataclass
class Traffic:
    """HTTP requests of one engine, failed ones included."""

    requests: int = 0
    retries: int = 0
    failed_calls: int = 0


class ChatEngine:
    """Calls one chat model with bounded concurrency, retries and accounting. Get one from `open_engine`."""

    def __init__(
        self,
        config: EngineConfig,
        connect: Callable[[], Awaitable[Endpoint]],
        *,
        api_key: str | None,
        budget: Budget | None = None,
    ) -> None:
        """`connect` gives the server's address; it is awaited once, at the first call or at `start`."""
        self.config = config
        self.usage = Usage()
        """Answered calls and their tokens."""
        self.traffic = Traffic()
        self._connect = connect
        self._api_key = api_key
        self._budget = budget
        self._transport: asyncio.Task[Transport] | None = None
        self._replicas = Replicas()
        self._limit = ConcurrencyLimit(config.concurrency)
        self._health = Health()
        self._standing = ServerStanding(structured=config.structured_output)
        self._base_url = config.base_url or "the model server"
        self._down: EngineDown | None = None
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
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
        seat: Seat | None = None,
    ) -> ChatReply:
        """Ask for one answer. `extra` holds fields of the request that the server is known to take.

        `max_tokens` takes the place of the sampling's; a server that does not take so many rejects this call alone.
        Calls with one `seat` go to one copy of the model, where the server is ours and holds several.
        `seed` may be any integer; it is folded to 31 bits, which every server takes. Raises `ChatFailed` if this call
        failed for good, `EngineDown` if the server counts as down, `BudgetSpent` if there is no money for the call.
        """
        form = self.config.request
        usual, sampling = sampling, sampling.model_copy(update={"max_tokens": max_tokens}) if max_tokens else sampling
        request = build_request(form, self.config.model, messages, sampling, seed=seed, extra=extra)
        role = messages[0]["role"] if messages else ""
        shape = Shape(
            sampling.temperature, sampling.top_p, role, json_schema is not None, sampling.max_tokens, usual.max_tokens
        )
        async with self._limit.slot():
            self._raise_if_down()
            transport = await self._ready()
            headers = self._replicas.headers(seat) if seat is not None else None
            with self._standing.asking(shape), self._paid() as reply:
                reply.append(await self._ask(transport, request, shape, json_schema, headers))
        return reply[0]

    def seat(self, group: str | None) -> Seat | None:
        """For the calls of one row, until `leave`; rows of a group are seated together. None without a group."""
        return Seat(group) if group is not None else None

    def leave(self, seat: Seat | None) -> None:
        """End the calls of a row."""
        if seat is not None:
            self._replicas.leave(seat)

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

    @contextmanager
    def _paid(self) -> Iterator[list[ChatReply]]:
        """A call's share of the budget; the block adds the reply to the list."""
        reply: list[ChatReply] = []
        if self._budget is not None and not self._budget.take(self.config.model):
            raise BudgetSpent(f"the budget is spent: {self._budget}", hint=_BUDGET_HINT, answers=True)
        try:
            yield reply
        finally:
            if self._budget is not None:
                self._budget.give_back(self.config.model, reply[0].usage if reply else None)

    async def _ready(self) -> Transport:
        self.start()
        assert self._transport is not None
        return await asyncio.shield(self._transport)

    async def _connected(self) -> Transport:
        endpoint = await self._connect()
        self._base_url, self._replicas = endpoint.base_url, Replicas(endpoint.replicas)
        return Transport(self._base_url, api_key=self._api_key, timeout_s=self.config.timeout_s)

    async def _ask(
        self,
        transport: Transport,
        request: dict[str, Any],
        shape: Shape,
        schema: dict[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> ChatReply:
        attempts = counted = 0
        while True:
            sent = schema if self._standing.takes(schema) else None
            started = time.monotonic()
            outcome = await self._attempt(transport, with_schema(request, sent) if sent else request, headers)
            if not isinstance(outcome, Fault):
                self._succeed(outcome, shape)
                if self._standing.is_cut_thought(outcome) and not sent:
                    outcome = replace(outcome, text="", problem="truncated")
                return replace(outcome, structured=sent is not None)
            if sent and outcome.kind in {FaultKind.FORMAT, FaultKind.SCHEMA}:
                self._standing.refuse(outcome, sent)
                continue
            fault = await self._standing.judge(outcome, shape)
            self._note(fault, started)
            counted += fault.kind not in {FaultKind.UNREACHABLE, FaultKind.BUSY}
            if not fault.retryable or counted > self.config.max_retries:
                self._give_up(fault)
            await self._pause(fault, attempts)
            self.traffic.retries += 1
            attempts += 1

    async def _attempt(
        self, transport: Transport, request: dict[str, Any], headers: Mapping[str, str] | None
    ) -> ChatReply | Fault:
        self.traffic.requests += 1
        try:
            answer = await transport.post(_PATH, _encode(request), headers)
        except TransportError as error:
            return classify_exception(error)
        return read_reply(answer.body) if answer.status == 200 else classify_answer(answer)

    def _succeed(self, reply: ChatReply, shape: Shape) -> None:
        self.usage += reply.usage
        self._limit.succeeded()
        self._health.succeeded()
        self._standing.answered(shape)

    def _note(self, fault: Fault, started: float) -> None:
        """Apply a fault to the engine as a whole: fewer requests, or stop."""
        if fault.kind is FaultKind.BUSY:
            self._limit.refused(started)
        elif fault.kind is FaultKind.ACCOUNT:
            self._stop(f"{self._base_url} refuses every request: {fault.message}", answers=True)
        elif fault.kind is FaultKind.PARAMETER:
            message = f"{self._base_url} does not take '{fault.parameter}': {fault.message}"
            self._stop(message, hint=remedy(fault, self.config.model), answers=True)
        elif fault.retryable:
            self._health.failed()
            if self._health.is_down:
                self._stop(f"{self._base_url} does not answer: {fault.message}")

    def _give_up(self, fault: Fault) -> NoReturn:
        self.traffic.failed_calls += 1
        if fault.kind is not FaultKind.SPOILED:
            self._health.gave_up()
            if self._health.is_down:
                self._stop(f"{self._base_url} fails nearly every request: {fault.message}")
        refused = not fault.retryable and fault.kind is not FaultKind.SPOILED
        reason = fault.reason or ("refused_by_server" if refused else None)
        raise ChatFailed(f"{self._base_url}: {fault.message}", refused=refused, reason=reason)

    def _stop(self, message: str, *, hint: str = _DOWN_HINT, answers: bool = False) -> NoReturn:
        self._down = self._down or EngineDown(message, hint=hint, answers=answers)
        self._stopped.set()
        raise self._down.again()

    def _raise_if_down(self) -> None:
        if self._down is not None:
            raise self._down.again()

    async def _pause(self, fault: Fault, attempts: int) -> None:
        """Wait as long as the server asked, or by exponential backoff with jitter; cut short when the engine stops."""
        longest = _LONGEST_BUSY_BACKOFF_S if fault.kind is FaultKind.BUSY else _LONGEST_BACKOFF_S
        wait = min(_FIRST_BACKOFF_S * 2 ** min(attempts, 20), longest) * random.uniform(0.5, 1.0)
        if fault.retry_after_s:  # at once is too soon
            wait = fault.retry_after_s if fault.kind is FaultKind.BUSY else min(fault.retry_after_s, _LONGEST_WAIT_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), wait)
        self._raise_if_down()


def _encode(request: dict[str, Any]) -> bytes:
    text = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair has no UTF-8; Python's escape of it is JSON's as well.
    return text.encode("utf-8", "backslashreplace")
