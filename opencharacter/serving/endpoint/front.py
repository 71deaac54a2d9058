"""The ASGI application before KServe's: the OpenAI routes are answered here, the rest of KServe's passes through."""

import asyncio
import json
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from opencharacter.serving.endpoint.access import make_access
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.exchange import (
    Exchange,
    Headers,
    Peers,
    Read,
    Receive,
    Scope,
    Send,
    key_of_model_server,
)
from opencharacter.serving.endpoint.observe import Observer, make_observer
from opencharacter.serving.endpoint.openapi import describe
from opencharacter.serving.endpoint.other_routes import no_such_route
from opencharacter.serving.endpoint.readiness import Readiness
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Upstream

PREFIXES = ("/openai/v1", "/v1")
"""KServe's prefix of the OpenAI API, and the API's own."""

_Reader = Callable[[Mapping[str, str]], Awaitable[tuple[bytes, str]]]
"""From a request's headers to a body and its content type."""

_logger = logging.getLogger("kserve")

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_KSERVE_PATHS = re.compile(
    r"/|/metrics|/docs|/openapi\.json|/v1/models/[^/]+|/v2|/v2/health/(live|ready)|/v2/models(/.*)?"
)
_KSERVE_INFERENCE = re.compile(r"/v1/models/[^/]+:(predict|explain)|/v2/models/.+/infer")
_READ_METHODS = ("GET", "HEAD")
_CORS_SECONDS = b"600"
_EXPOSED_HEADERS = b", ".join(
    [b"X-Request-Id", b"X-Dropped-Fields", b"Retry-After"]
    + [
        b"X-Ratelimit-%b-%b" % (what, unit)
        for what in (b"Limit", b"Remaining", b"Reset")
        for unit in (b"Requests", b"Tokens")
    ]
)


class Front:
    """What a request meets first. KServe's application answers health, metrics and model metadata."""

    def __init__(
        self, kserve_app: Any, contract: Contract, settings: EndpointSettings, connect: Callable[[], Upstream]
    ) -> None:
        self._kserve_app = kserve_app
        self._contract = contract
        self._settings = settings
        self._connect = connect
        self._any_origin = "*" in settings.cors_origins
        self._exchanges: set[Exchange] = set()
        self._draining = False
        self._calls: dict[str, Read] = {"/tokenize": contract.tokenize}
        self._reads: dict[str, _Reader] = {"/metrics/engine": self._engine_metrics, "/openapi.json": self._openapi}
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            self._reads["/metrics"] = _metrics_of_all_workers
        for prefix in PREFIXES:
            self._calls[f"{prefix}/chat/completions"] = contract.chat
            self._calls[f"{prefix}/tokenize"] = contract.tokenize
            self._reads[f"{prefix}/models"] = self._models
        self._upstream: Upstream
        self._readiness: Readiness
        self._peers: Peers
        self._observer: Observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and end."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)

    async def ready(self) -> bool:
        """Whether a character would answer."""
        return not self._draining and await self._readiness.check()

    def drain(self) -> None:
        """From now on this server is not ready; after `drain_s` what is still under way is ended with an error."""
        self._draining = True
        asyncio.get_running_loop().call_later(self._settings.drain_s, self._cut)

    def _cut(self) -> None:
        for exchange in list(self._exchanges):
            exchange.end("shutdown")

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            self._upstream = self._connect()
            stack.push_async_callback(self._upstream.close)
            self._readiness = Readiness(self._upstream, self._contract)
            access = make_access(self._settings)
            stack.push_async_callback(access.close)
            self._observer = make_observer(self._settings)
            stack.push_async_callback(self._observer.close)
            self._peers = Peers(self._upstream, access, self._settings)
            if self._settings.characters_dir is not None:
                stack.callback(asyncio.create_task(self._refresh_characters()).cancel)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _refresh_characters(self) -> None:
        known: list[str] = []
        while True:
            await asyncio.sleep(self._settings.characters_refresh_s)
            problems = await asyncio.to_thread(self._contract.refresh)
            for problem in problems:
                if problem not in known:
                    _logger.error("characters: %s", problem)
            known = problems

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        read = self._calls.get(path)
        if read is None and path not in self._reads and _KSERVE_PATHS.fullmatch(path) and method in _READ_METHODS:
            await self._kserve_app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = _request_id(headers)
        shared = [(b"x-request-id", request_id.encode()), *self._cors(headers)]
        if read is not None and method == "POST":
            exchange = Exchange(self._peers, headers, request_id, shared, send)
            self._exchanges.add(exchange)
            try:
                client = scope["client"]
                observed = self._observer.begin(path, request_id, headers)
                await exchange.run(read, client[0] if client else "", receive, observed)
            finally:
                self._exchanges.discard(exchange)
            return
        try:
            status, kind, body, more = await self._plain(scope, headers)
        except ApiError as error:
            status, kind, body = error.status, "application/json", json.dumps(error.body).encode()
            more = [(name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()]
        more = [*more, (b"content-length", b"%d" % len(body))] if status != 204 else more
        more = [*more, (b"content-type", kind.encode("latin-1"))] if body else more
        await send({"type": "http.response.start", "status": status, "headers": more + shared})
        await send({"type": "http.response.body", "body": body})

    async def _plain(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str, bytes, Headers]:
        """Status, content type, body and headers of what is no call of the model. Raises `ApiError`."""
        path, method = scope["path"], scope["method"]
        allowed = "POST" if path in self._calls else "GET" if path in self._reads else None
        if allowed is None:
            if _KSERVE_INFERENCE.fullmatch(path):
                raise ApiError(501, f"this model chats: call {PREFIXES[0]}/chat/completions", code="not_implemented")
            if not _KSERVE_PATHS.fullmatch(path):
                raise no_such_route(method, path, PREFIXES)
            allowed = "GET"
        if method == "OPTIONS" and self._allows(headers.get("origin")):
            return 204, "", b"", _preflight(headers, allowed)
        handler = self._reads.get(path)
        if handler is None or method not in _READ_METHODS:
            error = ApiError(405, f"{_shown(path)} takes {allowed}, not {method}", code="method_not_allowed")
            error.headers["Allow"] = allowed
            raise error
        body, kind = await handler(headers)
        return 200, kind, body, []

    async def _models(self, headers: Mapping[str, str]) -> tuple[bytes, str]:
        permit = await self._peers.access.admit(headers, "")
        try:
            listed, _ = await self._upstream.read("/v1/models", key_of_model_server(permit, headers))
        finally:
            await permit.settle(0, 0)
        return self._contract.models(listed), "application/json"

    async def _openapi(self, _: Mapping[str, str]) -> tuple[bytes, str]:
        return json.dumps(describe(self._settings, PREFIXES[0])).encode(), "application/json"

    async def _engine_metrics(self, _: Mapping[str, str]) -> tuple[bytes, str]:
        # The model server listens on loopback; this is how Prometheus sees it.
        return await self._upstream.read("/metrics", {})

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (self._any_origin or origin in self._settings.cors_origins)

    def _cors(self, headers: Mapping[str, str]) -> Headers:
        if not self._settings.cors_origins:
            return []
        origin = headers.get("origin")
        allowed = origin if self._allows(origin) else None
        vary = [(b"vary", b"Origin")]
        if allowed is None:
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", b"*" if self._any_origin else allowed.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]


async def _metrics_of_all_workers(headers: Mapping[str, str]) -> tuple[bytes, str]:
    """In place of KServe's handler, which tells those of its own process."""
    from prometheus_client import CollectorRegistry, exposition, multiprocess

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    encode, kind = exposition.choose_encoder(headers.get("accept", ""))
    return encode(registry), kind


def _preflight(headers: Mapping[str, str], method: str) -> Headers:
    asked = headers.get("access-control-request-headers", "")
    return [
        (b"access-control-allow-methods", f"{method}, OPTIONS".encode()),
        (b"access-control-allow-headers", asked.encode("latin-1") or b"*"),
        (b"access-control-max-age", _CORS_SECONDS),
    ]


def _request_id(headers: Mapping[str, str]) -> str:
    """The caller's own, where it is fit for a log line; else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"


def _shown(path: str) -> str:
    return path if len(path) <= 100 else path[:100] + "…"
