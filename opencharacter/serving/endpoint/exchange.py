"""One request of an OpenAI route: admitted, read, checked, passed to the model server, answered, booked."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from opencharacter.serving.endpoint.access import Access, Permit
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.events import EventRelay, tokens_of
from opencharacter.serving.endpoint.observe import Request
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Upstream, interrupted

Scope = Any
Receive = Any
Send = Any
Headers = list[tuple[bytes, bytes]]

Read = Callable[..., Call]
"""A method of the contract: `read(body, headers, strict=...)`. Raises `ApiError`."""

_logger = logging.getLogger("kserve")

_PASSED_HEADERS = ("x-b3-traceid",)
_CLIENT_CLOSED_REQUEST = 499
_JSON = (b"content-type", b"application/json")
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would gather the events
]


@dataclass(frozen=True)
class Peers:
    """What every exchange needs."""

    upstream: Upstream
    access: Access
    settings: EndpointSettings


class _ClientLeft(Exception):
    """The client went away while it was still sending."""


class Exchange:
    """A request from its head to its end. It can be ended early: by its client, or by a shutdown."""

    def __init__(self, peers: Peers, headers: Mapping[str, str], request_id: str, shared: Headers, send: Send) -> None:
        self._peers = peers
        self._headers = headers
        self._request_id = request_id
        self._shared = shared
        """Headers of every answer to this request."""
        self._send = send
        self._limits: Headers = []
        self._started = False
        self._status = 0
        self._relay: EventRelay | None = None
        self._tokens = (0, 0)
        self._task: asyncio.Task[Any] | None = None
        self._ended_by: Literal["client", "shutdown"] | None = None

    def end(self, by: Literal["client", "shutdown"]) -> None:
        """Stop the work for this request; the client of a cut stream is told, unless it has left."""
        if self._task is not None and self._ended_by is None:
            self._ended_by = by
            self._task.cancel()

    async def run(self, read: Read, client: str, receive: Receive, request: Request) -> None:
        """Answer the request; every error is told in OpenAI's form."""
        self._task = asyncio.current_task()
        reason = "ok"
        permit: Permit | None = None
        watch: asyncio.Task[None] | None = None
        try:
            permit = await self._peers.access.admit(self._headers, client)
            body = await self._body(receive)
            # The body is whole: what comes now is the client's leaving.
            watch = asyncio.create_task(self._until_client_leaves(receive))
            strict = permit.strict if permit.strict is not None else self._peers.settings.strictness == "strict"
            call = read(body, self._headers, strict=strict)
            request.called(call, permit.key_id)
            await permit.spend(call)
            self._limits = [(name.encode(), value.encode()) for name, value in permit.headers().items()]
            upstream_headers = self._upstream_headers(permit, request)
            if call.stream:
                reason = await self._stream(call, upstream_headers, request)
            else:
                await self._answer(call, upstream_headers, request)
        except ApiError as error:
            reason = error.code or "error"
            await self._fail(error)
        except _ClientLeft:
            reason, self._status = "client_left", _CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            if self._ended_by is None or self._task is None:
                raise
            self._task.uncancel()
            if self._ended_by == "client":
                reason, self._status = "client_left", _CLIENT_CLOSED_REQUEST
            else:
                reason = "shutdown"
                await self._fail(
                    ApiError(503, "the server is shutting down", code="shutting_down", retry_after_s=1)
                    if not self._started
                    else interrupted("the server is shutting down")
                )
        except Exception:
            _logger.exception("request %s failed", self._request_id)
            reason = "internal_error"
            await self._fail(ApiError(500, "the server failed; its log says why", code="internal_error"))
        finally:
            self._task = None  # nothing cuts the booking
            if watch is not None:
                watch.cancel()
            if self._relay is not None:
                self._tokens = self._relay.prompt_tokens, self._relay.completion_tokens or self._relay.count
            if permit is not None:
                await permit.settle(*self._tokens, cut=self._ended_by == "client")
            request.end(self._status, reason, *self._tokens)

    async def _body(self, receive: Receive) -> bytes:
        settings = self._peers.settings
        too_large = ApiError(
            413, f"the request is larger than {settings.max_body_bytes} bytes", code="request_too_large"
        )
        length = self._headers.get("content-length", "0")
        if len(length) > 18 or int(length) > settings.max_body_bytes:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientLeft
                    body += message.get("body", b"")
                    if len(body) > settings.max_body_bytes:
                        raise too_large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError as error:
            raise ApiError(408, "the request did not arrive in time", code="request_timeout") from error

    async def _until_client_leaves(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end("client")

    def _upstream_headers(self, permit: Permit, request: Request) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "X-Request-Id": self._request_id}
        passed = {name: self._headers[name] for name in _PASSED_HEADERS if name in self._headers}
        return headers | _sendable(passed) | key_of_model_server(permit, self._headers) | request.upstream_headers()

    async def _answer(self, call: Call, headers: dict[str, str], request: Request) -> None:
        content = await self._peers.upstream.answer(call.path, call.body, headers)
        try:
            answer = json.loads(content)
            self._tokens = tokens_of(answer.get("usage"))
        except (ValueError, AttributeError) as error:
            raise ApiError(502, "the model server's answer is not JSON", code="predictor_error") from error
        if call.kept:
            content = json.dumps({key: answer.get(key) for key in call.kept}).encode()
        request.first_byte()
        await self._reply(200, [_JSON, *_dropped(call)], content)

    async def _stream(self, call: Call, headers: dict[str, str], request: Request) -> str:
        self._relay = relay = EventRelay(usage_wanted=call.usage_wanted)
        async with self._peers.upstream.stream(call.path, call.body, headers) as stream:
            await self._start(200, [*_EVENT_STREAM, *_dropped(call)])
            send, feed, piece, begun = self._send, relay.feed, stream.piece, False
            while chunk := await piece():
                if chunk := feed(chunk):
                    if not begun:
                        begun = True
                        request.first_byte()
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not relay.done:
            raise interrupted("the model server ended its answer early")
        await send({"type": "http.response.body", "body": b""})
        return "predictor_error" if relay.failed else "ok"

    async def _fail(self, error: ApiError) -> None:
        self._task = None  # nothing cuts the error
        body = json.dumps(error.body).encode()
        if self._started:
            await self._send({"type": "http.response.body", "body": b"data: %b\n\ndata: [DONE]\n\n" % body})
            return
        named = [(name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()]
        await self._reply(error.status, [_JSON, *named], body)

    async def _reply(self, status: int, headers: Headers, body: bytes) -> None:
        await self._start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Headers) -> None:
        self._started, self._status = True, status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers + self._limits + self._shared}
        )


def key_of_model_server(permit: Permit, headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's `Authorization`; where the endpoint has keys of its own, it is not for the model server."""
    given = headers.get("authorization")
    return {} if given is None or permit.key_id is not None else _sendable({"Authorization": given})


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value.isascii() and value.isprintable()}


def _dropped(call: Call) -> Headers:
    return [(b"x-dropped-fields", ", ".join(call.dropped).encode("ascii", "replace"))] if call.dropped else []
