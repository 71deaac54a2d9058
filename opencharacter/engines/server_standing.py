"""What an engine has learnt of its server: whether it has answered, and what it does not take."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from opencharacter.engines.faults import Fault, FaultKind
from opencharacter.engines.replies import ChatReply

BUSY_PATIENCE_S = 3600.0
"""Seconds of "too many requests" without one answer after which the engine stops."""

_MOST_FORBIDDEN = 10
_MOST_SCHEMAS = 16
"""Schemas that may be refused, one after the other, before none is sent any more."""


class Shape(NamedTuple):
    """What requests have in common that a server takes or does not take together."""

    temperature: float
    top_p: float
    first_role: str
    with_schema: bool
    max_tokens: int
    usual_max_tokens: int
    """That of the sampling; a call may ask for more."""


class ServerStanding:
    """Decides how far a fault reaches from what the server answered to other requests."""

    def __init__(self, *, structured: bool) -> None:
        self._structured = structured
        self._refused_schemas: set[str] = set()
        self._refused_bound = 0
        """The least of the largest bounds of refused schemas; other schemas with such bounds would be refused, too."""
        self._answered: dict[Shape, int] = {}
        """The largest `max_tokens` that was answered, by the rest of the shape."""
        self._asking: Counter[Shape] = Counter()
        self._undecided: dict[asyncio.Future[None], tuple[Fault, Shape]] = {}
        self._forbidden_in_a_row = 0
        self._busy_since: float | None = None
        self._begins_with_thoughts = self._begins_without = 0

    @contextmanager
    def asking(self, shape: Shape) -> Iterator[None]:
        """Count a call as under way."""
        rest = _rest(shape)
        self._asking[rest] += 1
        try:
            yield
        finally:
            self._asking[rest] -= 1
            if self._undecided:
                self._settle()

    def takes(self, schema: dict[str, Any] | None) -> bool:
        """Whether to send a JSON schema."""
        if schema is None or not self._structured or not self._refused_schemas:
            return schema is not None and self._structured
        return json.dumps(schema) not in self._refused_schemas and not 0 < self._refused_bound <= _largest_bound(schema)

    def refuse(self, fault: Fault, schema: dict[str, Any] | None) -> None:
        """Note that the server does not take this schema, or no schema at all."""
        self._refused_schemas.add(json.dumps(schema))
        if fault.kind is FaultKind.FORMAT or len(self._refused_schemas) > _MOST_SCHEMAS:
            self._structured = False
        elif bound := _largest_bound(schema):
            self._refused_bound = min(self._refused_bound or bound, bound)

    def is_cut_thought(self, reply: ChatReply) -> bool:
        """Whether a reply that was cut off ended within thoughts, which it neither opens nor closes.

        It does if most replies of this model begin within thoughts.
        """
        if reply.thoughts == "none" and reply.finish_reason == "length":
            return self._begins_with_thoughts > self._begins_without
        self._begins_with_thoughts += reply.thoughts == "unopened"
        self._begins_without += reply.thoughts != "unopened"
        return False

    def answered(self, shape: Shape) -> None:
        """Note an answer to a request of this shape."""
        rest = _rest(shape)
        self._answered[rest] = max(shape.max_tokens, self._answered.get(rest, 0))
        self._forbidden_in_a_row = 0
        self._busy_since = None
        if self._undecided:
            self._settle()

    async def judge(self, fault: Fault, shape: Shape) -> Fault:
        """The fault with its scope decided: of this row, or of every request.

        A 403 and a parameter that is not taken concern one row if the server answers requests like it. Until it has,
        the fault waits for the other calls that are under way.
        """
        if fault.kind is FaultKind.BUSY:
            return self._busy(fault)
        if fault.kind not in {FaultKind.FORBIDDEN, FaultKind.PARAMETER}:
            return fault
        if fault.parameter == "max_tokens" and shape.max_tokens > shape.usual_max_tokens:
            return replace(fault, kind=FaultKind.REJECTED)
        if not self._has_answered(fault, shape):
            await self._others(fault, shape)
        if not self._has_answered(fault, shape):
            return fault if fault.kind is FaultKind.PARAMETER else replace(fault, kind=FaultKind.ACCOUNT)
        if fault.kind is FaultKind.FORBIDDEN:
            self._forbidden_in_a_row += 1
            if self._forbidden_in_a_row > _MOST_FORBIDDEN:
                return replace(fault, kind=FaultKind.ACCOUNT)
        return replace(fault, kind=FaultKind.REJECTED)

    def _busy(self, fault: Fault) -> Fault:
        now = time.monotonic()
        self._busy_since = self._busy_since if self._busy_since is not None else now
        return replace(fault, kind=FaultKind.ACCOUNT) if now - self._busy_since > BUSY_PATIENCE_S else fault

    def _has_answered(self, fault: Fault, shape: Shape) -> bool:
        if fault.kind is FaultKind.PARAMETER:
            return self._answered.get(_rest(shape), 0) >= shape.max_tokens
        return bool(self._answered)

    async def _others(self, fault: Fault, shape: Shape) -> None:
        """Wait until the server answers a request like this one, or none is under way that could be answered."""
        decided = asyncio.get_running_loop().create_future()
        self._undecided[decided] = fault, shape
        try:
            self._settle()
            await decided
        finally:
            self._undecided.pop(decided, None)

    def _settle(self) -> None:
        for decided, (fault, shape) in self._undecided.items():
            if not decided.done() and (self._has_answered(fault, shape) or self._is_alone(fault, shape)):
                decided.set_result(None)

    def _is_alone(self, fault: Fault, shape: Shape) -> bool:
        """Whether all calls under way wait like this one: those of its shape, or for a 403 all."""
        if fault.kind is FaultKind.FORBIDDEN:
            return self._asking.total() <= len(self._undecided)
        alike = sum(_rest(other) == _rest(shape) for _, other in self._undecided.values())
        return self._asking[_rest(shape)] <= alike


def _rest(shape: Shape) -> Shape:
    """What requests of different `max_tokens` share."""
    return shape._replace(max_tokens=0)


def _largest_bound(schema: Any) -> int:
    """The largest `maxLength` or `maxItems` within a schema; 0 without any."""
    if isinstance(schema, dict):
        own = [schema[name] for name in ("maxLength", "maxItems") if isinstance(schema.get(name), int)]
        return max([*own, *map(_largest_bound, schema.values())], default=0)
    return max(map(_largest_bound, schema), default=0) if isinstance(schema, list) else 0
