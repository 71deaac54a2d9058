"""A fake teacher for benchmarks: an OpenAI-compatible server that answers every chat call after a fixed time.

    python benchmarks/teacher.py --latency 0.3 [--record requests.jsonl]

It prints its base URL. It is a bare asyncio protocol, so that one core serves some thousand requests a second. As vLLM
does, it closes a connection that was idle for 5 seconds. `POST /reset?in_flight=N&prompts=M` begins a measurement, and
`GET /stats` returns it; `prompts` is how many system prompts its prefix cache would keep.
"""

import argparse
import asyncio
import json
import random
import re
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

_KEEP_ALIVE_S = 5.0
_JITTER = 0.1
"""Answers take the latency plus or minus this share, so that requests do not run in step for ever."""
_ANSWERS = 256
_WORDS = ("the", "my", "old", "harbour", "lamp", "winter", "letter", "river", "bread", "and", "we", "keep", "walk")
_NO_MESSAGES = b'"messages": []}'
"""How curator's probe for rate limits ends; it is no row."""
_FIRST_MESSAGE = re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class PrefixCache:
    """The system prompts that were used last, and how many requests found theirs there."""

    def __init__(self, prompts: int) -> None:
        self.hits = 0
        self._most = prompts
        self._kept: OrderedDict[bytes, None] = OrderedDict()

    def use(self, body: bytes) -> None:
        """Count a request."""
        found = _FIRST_MESSAGE.search(body)
        prompt = found[1] if found else b""
        self.hits += prompt in self._kept
        self._kept[prompt] = None
        self._kept.move_to_end(prompt)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Load:
    """The requests under way, since the last reset."""

    def __init__(self, in_flight: int = 0, prompts: int = 0) -> None:
        self.prefixes = PrefixCache(prompts) if prompts else None
        self.requests = self.answered = self.most_at_once = 0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._half = in_flight / 2
        self._at_once = 0
        self._changed_at = 0.0
        self._filled_s = self._below_half_s = 0.0
        self._at_last_arrival = (0.0, 0.0)

    def arrived(self) -> None:
        """A request came in."""
        self._pass_time()
        if self.first_at is None:
            self.first_at = time.monotonic()
        self.requests += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self._at_last_arrival = (self._filled_s, self._below_half_s)

    def ended(self, *, answered: bool) -> None:
        """A request was answered, or its connection is gone."""
        self._pass_time()
        self._at_once -= 1
        if answered:
            self.answered += 1
            self.last_at = time.monotonic()

    def as_dict(self) -> dict[str, Any]:
        """The figures. Times are of the monotonic clock, which the processes of a machine share."""
        filled, below_half = self._at_last_arrival
        return {
            "requests": self.requests,
            "answered": self.answered,
            "most_at_once": self.most_at_once,
            "first_at": self.first_at,
            "last_at": self.last_at,
            # From the moment that it was half full to the last request's arrival: filling and emptying do not count.
            "below_half": below_half / filled if filled else None,
            "prefix_hits": self.prefixes.hits / self.requests if self.prefixes and self.requests else None,
        }

    def _pass_time(self) -> None:
        now = time.monotonic()
        if self._filled_s or self._at_once >= self._half:
            elapsed = now - self._changed_at
            self._filled_s += elapsed
            self._below_half_s += elapsed if self._at_once < self._half else 0
        self._changed_at = now


class Teacher:
    """What all connections share."""

    def __init__(self, latency: float, record: Path | None) -> None:
        self.load = Load()
        self._record = record.open("ab") if record else None
        self._draw = random.Random(0)
        self._latency = latency
        self._answers = [self._answer(number) for number in range(_ANSWERS)]

    def arrived(self, body: bytes) -> Load:
        """Count a chat call; returns where to count its end."""
        if self._record:
            self._record.write(body + b"\n")
            self._record.flush()
        if self.load.prefixes:
            self.load.prefixes.use(body)
        self.load.arrived()
        return self.load

    def delay(self) -> float:
        """Seconds until the next answer."""
        return self._latency * self._draw.uniform(1 - _JITTER, 1 + _JITTER)

    def answer(self) -> bytes:
        """The next chat completion, a whole HTTP response."""
        return self._answers[self.load.requests % _ANSWERS]

    def reply_at_once(self, target: str) -> bytes:
        """The response to anything that is no chat call."""
        url = urlsplit(target)
        if url.path == "/reset":
            self.load = Load(**{name: int(values[0]) for name, values in parse_qs(url.query).items()})
            return _response({})
        if url.path == "/stats":
            return _response(self.load.as_dict())
        if url.path.endswith("/models"):
            return _response({"object": "list", "data": [{"id": "fake", "object": "model"}]})
        return _response(
            {"error": {"message": f"no route {url.path}", "type": "NotFound", "code": 404}}, "404 Not Found"
        )

    def _answer(self, number: int) -> bytes:
        sentences = (" ".join(self._draw.choices(_WORDS, k=12)).capitalize() + "." for _ in range(10))
        text = " ".join(sentences)
        return _response(
            {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "fake",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 400, "completion_tokens": 150, "total_tokens": 550},
            }
        )


class Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, teacher: Teacher, loop: asyncio.AbstractEventLoop) -> None:
        self._teacher = teacher
        self._loop = loop
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None
        self._load: Load | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._wait_for_next()

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
        if self._idle is not None:
            self._idle.cancel()
        if body.endswith(_NO_MESSAGES):
            self._send(_response({"error": {"message": "no messages", "code": 400}}, "400 Bad Request"))
        elif method == "POST" and target.endswith("/chat/completions"):
            self._load = self._teacher.arrived(body)
            self._answer = self._loop.call_later(self._teacher.delay(), self._send_answer)
        else:
            self._send(self._teacher.reply_at_once(target))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        for timer in (self._idle, self._answer):
            if timer is not None:
                timer.cancel()
        if self._load is not None:
            self._load.ended(answered=False)

    def _send_answer(self) -> None:
        load, self._load = self._load, None
        assert load is not None
        load.ended(answered=True)
        self._send(self._teacher.answer())

    def _send(self, response: bytes) -> None:
        assert self._transport is not None
        self._transport.write(response)
        self._wait_for_next()

    def _wait_for_next(self) -> None:
        assert self._transport is not None
        self._idle = self._loop.call_later(_KEEP_ALIVE_S, self._transport.close)


def _response(body: dict[str, Any], status: str = "200 OK") -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def _serve(latency: float, record: Path | None) -> None:
    loop, teacher = asyncio.get_running_loop(), Teacher(latency, record)
    server = await loop.create_server(lambda: Connection(teacher, loop), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, required=True, help="seconds until an answer")
    parser.add_argument("--record", type=Path, help="file to add the requests' bodies to, in order of arrival")
    arguments = parser.parse_args()
    import uvloop

    uvloop.run(_serve(arguments.latency, arguments.record))


if __name__ == "__main__":
    main()
