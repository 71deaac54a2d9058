"""Connections that are kept, and know whether they were made for this request; loaded when a transport is made."""

import asyncio
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

_MOST_MADE_AT_ONCE = 128
"""No server needs a longer queue of new connections than is usual, and none times out because others are made."""

reused: ContextVar[bool] = ContextVar("reused")
"""Whether this task's last request went over a connection that had been used before."""


class KeptConnections(aiohttp.TCPConnector):
    """aiohttp's connector, which sets `reused`. (Its tracing tells the same for a quarter more time a request.)"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._making = asyncio.Semaphore(_MOST_MADE_AT_ONCE)

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """See `aiohttp.BaseConnector`."""
        reused.set(True)
        return await super().connect(*arguments, **options)

    async def _create_connection(self, *arguments: Any, **options: Any) -> ResponseHandler:
        reused.set(False)
        async with self._making:
            return await super()._create_connection(*arguments, **options)
