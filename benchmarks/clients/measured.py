"""What every measured client shares: its command line, and the figures of its own process.

It imports nothing but the standard library: the clients run in environments of their own.
"""

import argparse
import json
import resource
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a client has to do: every row of `requests`, into `work`."""

    url: str
    """Ends in `/v1`."""
    requests: Path
    """JSON Lines of `system` and `user`."""
    work: Path
    in_flight: int
    settings: Mapping[str, str]
    """Of one client alone."""

    def read(self) -> Iterator[dict[str, str]]:
        """The requests."""
        with self.requests.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def messages(self) -> Iterator[Any]:
        """The requests as chat messages."""
        for row in self.read():
            yield [{"role": "system", "content": row["system"]}, {"role": "user", "content": row["user"]}]


SAMPLING = {"temperature": 0.8, "top_p": 0.95, "max_tokens": 768}


def run(make: Callable[[Job], None]) -> None:
    """Do the job of the command line with `make`, and write the figures into the work folder.

    A first job of a few rows loads what is loaded on first use; it is not measured.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--warm-up", type=Path, help="requests of the first job")
    parser.add_argument("--prompts", type=int, default=0, help="system prompts that the teacher would keep")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, a setting of this client")
    arguments = parser.parse_args()
    settings = dict(setting.split("=") for setting in arguments.set)

    def job(requests: Path, name: str) -> Job:
        return Job(arguments.url, requests, arguments.work / name, arguments.in_flight, settings)

    if arguments.warm_up:
        make(job(arguments.warm_up, "warm-up"))
    query = f"in_flight={arguments.in_flight}&prompts={arguments.prompts}"
    reset = f"{arguments.url.removesuffix('/v1')}/reset?{query}"
    urllib.request.urlopen(urllib.request.Request(reset, method="POST")).close()
    started, cpu = time.monotonic(), time.process_time()
    make(job(arguments.requests, "job"))
    figures = {
        "started_at": started,
        "seconds": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    (arguments.work / "figures.json").write_text(json.dumps(figures))
