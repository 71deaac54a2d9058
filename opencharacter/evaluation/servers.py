"""The servers of models and judges: one at a time."""

from contextlib import AsyncExitStack
from typing import Any

from opencharacter.engines import ChatEngine, EngineConfig, open_engine


class Servers:
    """One open engine at a time; the next one takes its place unless it is the same."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._open: tuple[EngineConfig, ChatEngine] | None = None

    async def __aenter__(self) -> "Servers":
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the open engine, if there is one."""
        await self._stack.aclose()
        self._stack, self._open = AsyncExitStack(), None

    async def open(self, config: EngineConfig) -> ChatEngine:
        """The engine, whose server starts at the first call."""
        if self._open is None or self._open[0] != config:
            await self.close()
            self._open = config, await self._stack.enter_async_context(open_engine(config))
        return self._open[1]


def fair_request(config: EngineConfig) -> dict[str, Any] | None:
    """Further fields of requests: a penalty that only one model has by default would make the comparison unfair.

    Our own servers take them.
    """
    return {"repetition_penalty": 1.0} if config.base_url is None else None
