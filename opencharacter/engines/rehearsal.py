"""A rehearsal: engines that call nobody. What would be asked is counted, and a stand-in answers.

So a plan counts the calls by the code that makes them, and cannot differ from it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opencharacter.engines.chat import ChatEngine
from opencharacter.engines.engine_config import EngineConfig, Sampling
from opencharacter.engines.replicas import Endpoint, Seat
from opencharacter.engines.replies import ChatReply

StandIn = Callable[[EngineConfig, list[dict[str, str]], Sampling, int, dict[str, Any] | None], ChatReply]
"""Answers in place of a server: engine, messages, sampling, seed and JSON schema in, the reply out."""


class Rehearsal:
    """The engines of a rehearsal, which share one stand-in."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def engine(self, config: EngineConfig) -> ChatEngine:
        """An engine that the stand-in answers for."""
        return _RehearsedEngine(config, self._stand_in)


class _RehearsedEngine(ChatEngine):
    def __init__(self, config: EngineConfig, stand_in: StandIn) -> None:
        super().__init__(config, _no_server, api_key=None)
        self._stand_in = stand_in

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
        sampling = sampling.model_copy(update={"max_tokens": max_tokens}) if max_tokens else sampling
        reply = self._stand_in(self.config, messages, sampling, seed, json_schema)
        self.usage += reply.usage
        return reply

    def start(self) -> None:
        """There is no server to start."""


async def _no_server() -> Endpoint:
    raise AssertionError("a rehearsal calls no server")


_REHEARSAL: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


@contextmanager
def rehearse(stand_in: StandIn) -> Iterator[None]:
    """Inside the block the engines that are opened call no server: `stand_in` answers."""
    token = _REHEARSAL.set(Rehearsal(stand_in))
    try:
        yield
    finally:
        _REHEARSAL.reset(token)


def current_rehearsal() -> Rehearsal | None:
    """The rehearsal of the block around, if there is one."""
    return _REHEARSAL.get()
