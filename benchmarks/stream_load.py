"""Callers for benchmarks of serving: each sends the same chat request again and again, on a connection of its own.

    python benchmarks/stream_load.py --url URL --body FILE --callers 64 --warm-up 2 --seconds 10

It prints `begin` when the measured time begins, and then the figures as JSON. It counts tokens by their text and parses
nothing else, so that it takes little of the processor.
"""

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from paced_server import TOKEN

_MARK = TOKEN.encode()
_TAIL = 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Tally:
    """What the callers have seen in the measured time."""

    counts: bool = False
    tokens: int = 0
    answers: int = 0
    failures: int = 0
    first_token_s: list[float] = field(default_factory=list)


class Caller(asyncio.Protocol):
    """One connection, and the answer that it reads."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._answered: asyncio.Future[None] | None = None
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[None]":
        """Send a request; the future ends with the answer, or with the connection."""
        self._begin()
        self._answered = asyncio.get_running_loop().create_future()
        self._asked_at = time.perf_counter()
        self._transport.write(request)
        return self._answered

    def _begin(self) -> None:
        self._head: bytes | None = b""
        self._missing: int | None = None
        self._tail = b""
        self._has_token = False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._head is not None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end], self._head[end + 4 :]
            if not head.startswith(b"HTTP/1.1 200"):
                refusal = RuntimeError(f"the server refused a request: {self._head[:2000].decode(errors='replace')}")
                if self._answered is not None and not self._answered.done():
                    self._answered.set_exception(refusal)
                return
            found = _LENGTH.search(head)
            self._missing = int(found[1]) if found else None
            self._head = None
        text = self._tail + data
        tokens = text.count(_MARK) - self._tail.count(_MARK)
        self._tail = text[-_TAIL:]
        if tokens and not self._has_token:
            self._has_token = True
            if self._tally.counts:
                self._tally.first_token_s.append(time.perf_counter() - self._asked_at)
        if self._tally.counts:
            self._tally.tokens += tokens
        if self._missing is None:
            complete = self._tail.endswith(b"\r\n0\r\n\r\n")
        else:
            self._missing -= len(data)
            complete = self._missing == 0
        if complete:
            self._end(failed=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._end(failed=True)

    def _end(self, *, failed: bool) -> None:
        if self._answered is None or self._answered.done():
            return
        if self._tally.counts:
            self._tally.answers += not failed
            self._tally.failures += failed
        self._answered.set_result(None)


def as_request(url: str, body: bytes) -> bytes:
    """A chat call's bytes; `url` ends in `/v1`."""
    address = urlsplit(url)
    head = (
        f"POST {address.path}/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer none\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connect(url: str, tally: Tally) -> tuple[asyncio.Transport, Caller]:
    """A new connection."""
    address = urlsplit(url)
    return await asyncio.get_running_loop().create_connection(
        lambda: Caller(tally), address.hostname or "", address.port or 80
    )


async def _call(url: str, request: bytes, tally: Tally, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    while True:
        transport, caller = await connect(url, tally)
        while not transport.is_closing():
            await caller.ask(request)


async def _measure(arguments: argparse.Namespace) -> None:
    request, tally = as_request(arguments.url, arguments.body.read_bytes()), Tally()
    # Callers begin one after the other, so that they are not in step.
    delays = (arguments.spread * number / arguments.callers for number in range(arguments.callers))
    calls = [asyncio.create_task(_call(arguments.url, request, tally, delay)) for delay in delays]
    for seconds, counts in ((arguments.spread + arguments.warm_up, True), (arguments.seconds, False)):
        ended, _ = await asyncio.wait(calls, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for call in ended:
            call.result()
        tally.counts = counts
        if counts:
            print("begin", flush=True)
            began = time.perf_counter()
    figures = vars(tally) | {"seconds": time.perf_counter() - began}
    print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="base URL, ends in /v1")
    parser.add_argument("--body", type=Path, required=True, help="the request's body")
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--spread", type=float, default=0.0, help="seconds until the last caller begins")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds after that that do not count")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds that count")
    arguments = parser.parse_args()
    import uvloop

    uvloop.run(_measure(arguments))


if __name__ == "__main__":
    main()
