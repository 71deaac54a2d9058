"""A model server whose answers break, stall or fail as the user's message says; for faults inside a stream."""

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any

from aiohttp import web

_WAIT_S = 20


class ScriptedPredictor:
    """In a thread of the test. It can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.left = threading.Event()
        """Set when a caller went away before its answer was complete."""
        self.requests: list[tuple[Mapping[str, str], dict[str, Any]]] = []
        """Headers and body of each call, oldest first."""
        self.release = threading.Event()
        """Lets the message `wait` go on."""
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def start(self) -> None:
        self._call(self._start())

    def stop(self) -> None:
        self._call(self._runner.cleanup())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, backlog=4096)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        self.requests.append((http.headers, request))
        try:
            return await self._play(http, request["messages"][-1]["content"], request.get("stream"))
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    async def _play(self, http: web.Request, script: str, stream: bool) -> web.StreamResponse:
        match script:
            case "silent":
                await asyncio.sleep(_WAIT_S)
            case "refuse":
                return web.json_response({"error": {"message": "too long for this model", "code": 400}}, status=400)
            case "crash":
                return web.json_response({"error": {"message": "secret internals"}}, status=500)
            case "overloaded":
                return web.Response(status=503, headers={"Retry-After": "7"})
        if not stream:
            choice = {"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "stop"}
            return web.json_response({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        await response.write(_event("one"))
        match script:
            case "break":
                await response.write(_event("two")[:20])
                assert http.transport is not None
                http.transport.abort()
                return response
            case "end early":
                return response
            case "flood":
                while True:
                    await response.write(_event("x" * 100_000))
            case "stall":
                await asyncio.sleep(_WAIT_S)
            case "wait":
                while not self.release.is_set():
                    await asyncio.sleep(0.02)
        await response.write(_event("two") + b"data: [DONE]\n\n")
        return response


def _event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n".encode()
