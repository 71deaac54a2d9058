"""A fake model server for benchmarks of what stands before one: it streams ready-made events at a steady pace.

    python benchmarks/paced_server.py

It prints its base URL. It is a bare asyncio protocol that writes bytes encoded beforehand, so that it takes little of
the processor. Each token is a write of its own, as vLLM sends it. `POST /pace?first=S&gap=S` sets the seconds until the
first token and between two of them; with a gap of 0 tokens come as fast as they are taken. `GET /stats` counts what is
open.
"""

import asyncio
import json
import re
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

TOKEN = " lantern"
"""The text of every token; clients count it."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
_STREAM = re.compile(rb'"stream": ?true')
_USAGE = re.compile(rb'"include_usage": ?true')
_DEFAULT_TOKENS = 64
_PROMPT_TOKENS = 900


def _chunk(event: bytes) -> bytes:
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def _event(delta: dict[str, str] | None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    body = _envelope("chat.completion.chunk") | {"choices": [] if delta is None else [choice]} | more
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n".encode()


def _envelope(kind: str) -> dict[str, Any]:
    name = "chatcmpl-0f5c3c7f4b7a4a4f9d2b6a1f0f3f3c11"
    return {"id": name, "object": kind, "created": 1_700_000_000, "model": "fake"}


def _usage(tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "completion_tokens": tokens,
        "total_tokens": _PROMPT_TOKENS + tokens,
    }


def _response(body: dict[str, Any] | str, status: str = "200 OK") -> bytes:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "text/plain" if isinstance(body, str) else "application/json"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def _whole(tokens: int) -> bytes:
    message = {"role": "assistant", "content": TOKEN * tokens}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    return _response(_envelope("chat.completion") | {"choices": [choice], "usage": _usage(tokens)})


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_NEXT = _chunk(_event({"content": TOKEN}))
_FIRST = _chunk(_event({"role": "assistant", "content": ""})) + _NEXT
_LAST = _chunk(_event({"content": ""}, "length"))
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_ONE = _whole(1)


class Server:
    """What all connections share."""

    def __init__(self) -> None:
        self.first_s, self.gap_s = 0.0, 0.0
        self.open = self.finished = self.abandoned = self.tokens = 0

    def reply(self, method: str, target: str) -> bytes:
        """The answer to anything but a chat call."""
        url = urlsplit(target)
        if method == "POST" and url.path == "/pace":
            pace = parse_qs(url.query)
            self.first_s, self.gap_s = float(pace["first"][0]), float(pace["gap"][0])
            return _response({})
        if url.path == "/stats":
            counts = ("open", "finished", "abandoned", "tokens")
            return _response({name: getattr(self, name) for name in counts})
        if url.path.endswith("/models"):
            return _response({"object": "list", "data": [{"id": "fake", "object": "model", "created": 0}]})
        if url.path in ("/health", "/metrics", "/version"):
            return _response("" if url.path != "/version" else {"version": "0"})
        return _response({"error": {"message": f"no route {url.path}", "code": 404}}, "404 Not Found")


class Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._received = bytearray()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._timer: asyncio.Handle | None = None
        self._paused = False
        self._waits = False
        self._left = 0
        self._tokens = 0
        self._due = 0.0
        self._wants_usage = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self._received, 0, end)
        whole = end + 4 + (int(found[1]) if found else 0)
        if len(self._received) < whole:
            return
        method, target, _ = self._received[: self._received.index(b"\r\n")].decode().split(" ")
        body = bytes(self._received[end + 4 : whole])
        del self._received[:whole]
        if method == "POST" and target.endswith("/chat/completions"):
            self._chat(body)
        else:
            self._transport.write(self._server.reply(method, target))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._timer is not None:
            self._timer.cancel()
        if self._left:
            self._server.open -= 1
            self._server.abandoned += 1
            self._left = 0

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        if self._waits:
            self._waits = False
            self._go_on()

    def _chat(self, body: bytes) -> None:
        found = _TOKENS.search(body)
        self._tokens = int(found[1]) if found else _DEFAULT_TOKENS
        if not _STREAM.search(body):
            self._server.finished += 1
            self._transport.write(_ONE if self._tokens == 1 else _whole(self._tokens))
            return
        self._wants_usage = _USAGE.search(body) is not None
        self._server.open += 1
        self._left = self._tokens
        self._due = self._loop.time() + self._server.first_s
        self._timer = self._loop.call_at(self._due, self._first)

    def _first(self) -> None:
        self._transport.write(_HEAD + _FIRST)
        self._count()

    def _go_on(self) -> None:
        if self._paused:
            self._waits = True
            return
        self._transport.write(_NEXT)
        self._count()

    def _count(self) -> None:
        self._server.tokens += 1
        self._left -= 1
        if self._left:
            if gap := self._server.gap_s:
                self._due += gap
                self._timer = self._loop.call_at(self._due, self._go_on)
            else:
                self._timer = self._loop.call_soon(self._go_on)
            return
        self._server.open -= 1
        self._server.finished += 1
        usage = _chunk(_event(None, usage=_usage(self._tokens))) if self._wants_usage else b""
        self._transport.write(_LAST + usage + _END)


async def _serve() -> None:
    loop, server = asyncio.get_running_loop(), Server()
    listening = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve())
