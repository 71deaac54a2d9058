"""Uvicorn's HTTP protocol with limits: of size and time on what a client sends, of time on what it leaves unread."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.settings import EndpointSettings

_UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")


def limited_protocol(settings: EndpointSettings) -> type[HttpToolsProtocol]:
    """The protocol class with the limits of the settings."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"limits": settings})


class _Refused(Exception):
    """Stops the parser."""


class _HeadWithBody:
    """Stands for an answer's transport until its head is written: with the beginning of the body, if that is there.

    Each write is a system call that wakes the reader.
    """

    def __init__(self, cycle: RequestResponseCycle, loop: asyncio.AbstractEventLoop) -> None:
        self._cycle, self._loop, self._transport, self._head = cycle, loop, cycle.transport, b""
        cycle.transport = cast(asyncio.Transport, self)

    def write(self, data: bytes) -> None:
        if self._head:
            self._head += data
            self._flush()
        else:
            self._head = data
            self._loop.call_soon(self._flush)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self._cycle.transport = self._transport
            self._transport.write(self._head)
            self._head = b""


class _LimitedProtocol(HttpToolsProtocol):
    limits: EndpointSettings

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_bytes = 0
        """Read since the head began; what follows the head in the same read is counted too."""
        self._refusal: ApiError | None = None
        self._arrival: asyncio.TimerHandle | None = None
        """By when the rest of a head must come, or of a body that has been answered already."""
        self._reader: asyncio.TimerHandle | None = None
        """By when the client must read on."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_arrival(self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        self._read_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or ApiError(400, "the request is not valid HTTP", code="invalid_http"))
        if not self._in_head or self.transport.is_closing():
            return
        # After each read, not at the end of the head: the parser is quadratic in the size of one header.
        if self._head_bytes > self.limits.max_head_bytes:
            self._refuse(self._too_large())
        elif self._arrival is None and self._is_idle():
            self._await_arrival(self._head_is_late)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # read again without it
        self._in_head = False
        self._arrived()
        if self._head_bytes > self.limits.max_head_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.max_head_bytes:
                self._refusal = self._too_large()
                raise _Refused
        super().on_headers_complete()
        _HeadWithBody(self.cycle, self.loop)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_head, self._head_bytes = True, 0
        self._arrived()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            # Answered before its body was read, as a refusal is. Closing now could destroy the answer on its way.
            self._await_arrival(self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader = self.loop.call_later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._read_on()
        super().resume_writing()

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Ask the parser again without the wish for another protocol, which need not be granted.

        Java's client wishes for HTTP/2 with each request; the parser would leave out the request's body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(ApiError(405, "this is no proxy", code="method_not_allowed"))
            return
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self.url, b"".join(lines), rest))

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_arrival(self, late: Callable[[], None]) -> None:
        self._arrived()
        self._arrival = self.loop.call_later(self.limits.head_timeout_s, late)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _read_on(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _too_large(self) -> ApiError:
        limit = self.limits.max_head_bytes
        return ApiError(431, f"the head of the request is larger than {limit} bytes", code="request_head_too_large")

    def _head_is_late(self) -> None:
        if self._head_bytes:
            self._refuse(ApiError(408, "the head of the request did not arrive in time", code="request_timeout"))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answer in the parser's place and close; not in the middle of another answer."""
        if self.transport.is_closing():
            return
        if self._is_idle() or not self.cycle.response_started:
            body = json.dumps(error.body).encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + head + body)
        if self.cycle is not None:
            # The application may still be reading the body; nothing that it says is sent.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
