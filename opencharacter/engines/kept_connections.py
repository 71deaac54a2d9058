"""Connections that are kept, and know whether they have been used; loaded when a transport is made."""

from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

reused: ContextVar[bool] = ContextVar("reused")
"""Whether this task's last request went over a connection that had been used before."""


class KeptConnections(aiohttp.TCPConnector):
    """aiohttp's connector, which sets `reused`. (Its tracing tells the same for a quarter more time a request.)"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """See `aiohttp.BaseConnector`."""
        reused.set(False)
        connection = await super().connect(*arguments, **options)
        protocol = connection.protocol
        assert protocol is not None
        reused.set(protocol in self._used)
        self._used.add(protocol)
        return connection
