"""A soak of the transformer: streams whose callers leave at random, and what stays behind.

    python benchmarks/endpoint_soak.py [--minutes 10] [--streams 64]

Half of the answers are read to their end. The others are left: before the request is whole, before the first token, or
somewhere in the stream, by closing the connection or by cutting it. Those would take longer than the soak, so that a
generation that goes on without its caller is still open at the end. The exit code is 1 if anything stays behind.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from endpoint import allowed_cores, chat_body, model_server, set_pace, stats, transformer
from processes import end_on_sigterm, memory_mb, open_files, raise_open_files
from stream_load import Caller, Tally, as_request, connect
from tables import markdown

_FIRST_S, _GAP_S = 0.05, 0.032
_LONGEST_ANSWER = 200
_LONGEST_STAY_S = 4.0
_NEVER_ENDS = 32_000
"""Tokens of an answer that is left: 17 minutes, and as many as the endpoint allows."""
_WAYS = {"read to the end": 50, "left in mid-request": 10, "left before the first token": 10, "left in the stream": 30}
"""What callers do with an answer, and in how many of a hundred."""
_TO_THE_END, _IN_MID_REQUEST, _BEFORE_THE_FIRST, _IN_THE_STREAM = _WAYS

_SAMPLES = 120
_WATCHED_S = 15.0
"""How long generations are watched after the last caller has left."""
_ENDS_WITHIN_S = 2.0
_GROWTH = 1.05
"""What memory and files at the end may have of those early on; less is the allocator's."""


@dataclass
class Sample:
    """The transformer at one moment, and the generations under way behind it."""

    memory_mb: float
    files: int
    generations: int


@dataclass
class Callers:
    """What callers do, and have done."""

    url: str
    until: float
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    tally: Tally = field(default_factory=lambda: Tally(counts=True))
    ways: Counter[str] = field(default_factory=Counter)

    async def call(self) -> None:
        """One caller: ask again and again until the time is over."""
        while time.monotonic() < self.until:
            transport, caller = await connect(self.url, self.tally)
            (way,) = self.draw.choices(list(_WAYS), list(_WAYS.values()))
            self.ways[way] += 1
            if way == _TO_THE_END:
                await caller.ask(self._request(self.draw.randint(1, _LONGEST_ANSWER)))
            elif way == _IN_MID_REQUEST:
                request = self._request(_NEVER_ENDS)
                transport.write(request[: self.draw.randrange(1, len(request))])
                await asyncio.sleep(self.draw.uniform(0, 1))
            else:
                await self._leave(caller, *((0, _FIRST_S) if way == _BEFORE_THE_FIRST else (_FIRST_S, _LONGEST_STAY_S)))
            if self.draw.random() < 0.5:
                transport.abort()
            else:
                transport.close()

    async def _leave(self, caller: Caller, shortest_s: float, longest_s: float) -> None:
        answered = caller.ask(self._request(_NEVER_ENDS))
        await asyncio.wait({answered}, timeout=self.draw.uniform(shortest_s, longest_s))
        if answered.done():
            answered.result()
            raise RuntimeError("an answer ended that does not end")
        answered.cancel()

    def _request(self, tokens: int) -> bytes:
        return as_request(self.url, chat_body(stream=True, tokens=tokens))


async def _soak(server: str, url: str, pid: int, seconds: float, streams: int) -> tuple[Callers, list[Sample], float]:
    callers, samples = Callers(url, time.monotonic() + seconds), []
    calls = {asyncio.create_task(callers.call()) for _ in range(streams)}
    while calls:
        ended, calls = await asyncio.wait(calls, timeout=seconds / _SAMPLES)
        if errors := [error for call in ended if (error := call.exception())]:
            raise SystemExit(str(errors[0]))
        if not ended:
            samples.append(Sample(memory_mb(pid), open_files(pid), (await asyncio.to_thread(stats, server))["open"]))
    left_at = time.monotonic()
    while (await asyncio.to_thread(stats, server))["open"] and time.monotonic() < left_at + _WATCHED_S:
        await asyncio.sleep(0.05)
    return callers, samples, time.monotonic() - left_at


def _findings(
    callers: Callers, samples: list[Sample], streams: int, left: int, ended_s: float
) -> list[tuple[str, str, bool]]:
    """What was looked at, what was seen, and whether it is as it should be."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]  # the first fifth fills caches and pools
    memory = [statistics.median(sample.memory_mb for sample in some) for some in (early, late)]
    files = [max(sample.files for sample in some) for some in (early, late)]
    most = max(sample.generations for sample in samples)
    return [
        ("memory early and at the end, MB", f"{memory[0]:.1f}, {memory[1]:.1f}", memory[1] <= _GROWTH * memory[0]),
        ("open files early and at the end", f"{files[0]}, {files[1]}", files[1] <= _GROWTH * files[0] + 8),
        ("most generations at once", str(most), most <= _GROWTH * streams),
        ("generations left", str(left), left == 0),
        ("seconds until the last one ended", f"{ended_s:.2f}", ended_s < _ENDS_WITHIN_S),
        ("answers that broke", str(callers.tally.failures), callers.tally.failures == 0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=64, help="streams at once")
    arguments = parser.parse_args()
    end_on_sigterm()
    raise_open_files(4 * arguments.streams + 1024)
    proxy_cores, load_cores = allowed_cores()
    with (
        tempfile.TemporaryDirectory(prefix="opencharacter-bench-") as folder,
        model_server(load_cores) as server,
        transformer(server, Path(folder), proxy_cores) as front,
    ):
        set_pace(server, _FIRST_S, _GAP_S)
        soak = _soak(server, front.url, front.pid, 60 * arguments.minutes, arguments.streams)
        callers, samples, ended_s = asyncio.run(soak)
        left = stats(server)["open"]
    print(markdown([f"{arguments.streams} streams, {arguments.minutes:g} minutes", "answers"], callers.ways.items()))
    findings = _findings(callers, samples, arguments.streams, left, ended_s)
    print()
    rows = [(what, seen, "yes" if well else "NO") for what, seen, well in findings]
    print(markdown(["looked at", "seen", "as it should be"], rows))
    sys.exit(0 if all(well for _, _, well in findings) else 1)


if __name__ == "__main__":
    main()
