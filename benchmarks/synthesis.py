"""Speed of synthesis: this library, a bare aiohttp loop, the openai client, DataDesigner and curator, in one run.

    python benchmarks/synthesis.py [--in-flight 64 256 2048] [--only opencharacter aiohttp] [--json results.json]

All clients ask the same fake teacher, which has one core to itself; the client under measurement has the others. Other
systems run in environments of their own, which are made on first use; one that the package index does not give is left
out by name. Everything runs in turns, so use a machine that is otherwise idle.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from environments import NotInstallable, environment_python
from processes import end_on_sigterm, running
from workload import make_workload

_HERE = Path(__file__).parent
_OURS, _BARE, _NEAREST = "opencharacter", "aiohttp", "data-designer"
_CLIENTS = {
    _BARE: "with_aiohttp.py",
    _OURS: "with_opencharacter.py",
    "openai": "with_openai.py",
    _NEAREST: "with_data_designer.py",
    "curator": "with_curator.py",
}
_REQUIREMENTS = {_NEAREST: "data-designer==0.9.7", "curator": "bespokelabs-curator==0.1.31"}
_CAN_RESUME = (_OURS, _NEAREST, "curator")

_LEVELS = {64: (0.3, 2000), 256: (0.3, 10_000), 2048: (6.0, 8190)}
"""By requests in flight: the teacher's latency in seconds, and the rows."""
_OTHER_LEVEL = (0.3, 10_000)
_MEMORY = {1000: tuple(_CLIENTS), 10_000: (), 100_000: (_OURS,)}
"""By rows: who makes so many. The others would need many minutes for 100,000; 10,000 are those of 256 in flight."""
_RESUME_ROWS = 4000
_AT_ONCE, _LATENCY = 256, 0.3
"""Of the jobs that measure memory and resumption."""
_PARTS = ("speed", "memory", "resume")
_WARM_UP_ROWS = 10

# No client may send usage figures anywhere, look up prices, or take a proxy for the teacher.
_ENVIRONMENT = {
    "NEMO_TELEMETRY_ENABLED": "false",
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "CURATOR_VIEWER": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "OPENAI_API_KEY": "none",
}


@dataclass
class Run:
    """What one client did."""

    client: str
    in_flight: int
    rows: int
    answered: int
    seconds: float
    """Of the whole job, preparation and writing included; start and imports not."""
    ended: bool
    """Otherwise it was stopped at the time limit, and the figures are those until then."""
    most_at_once: int
    below_half: float | None
    """Share of the time in which the teacher had less than half of the requests that it may have."""
    cpu_ms: float | None = None
    """User and system time of the client's process for one row."""
    rss_mb: float | None = None

    @property
    def rows_per_s(self) -> float:
        """Answered rows a second."""
        return self.answered / self.seconds


@dataclass
class Resumption:
    """What happened when a client was killed at half of its rows, and started twice more."""

    client: str
    rows: int
    asked_again: int
    first_request_s: float
    """From the start of the command to its first request."""
    no_op_s: float
    """The whole command when nothing is left to do."""
    no_op_requests: int


class Bench:
    """Runs clients, one at a time."""

    def __init__(self, folder: Path, pythons: dict[str, str], limit_s: float) -> None:
        self._folder = folder
        self._pythons = pythons
        self._limit_s = limit_s
        self._cores = sorted(os.sched_getaffinity(0))
        self.requests = cache(self._requests)

    def measure(self, client: str, rows: int, in_flight: int, latency: float) -> Run:
        """One job of a client."""
        warm_up = ("--warm-up", self.requests(_WARM_UP_ROWS))
        with self._teacher(latency) as teacher, self._work() as work:
            with self._client(client, teacher, work, rows, in_flight, *warm_up) as process:
                ended = self._wait(process, client, work)
                load = _call(teacher, "stats")
            figures = json.loads((work / "figures.json").read_text()) if ended else {}
        return Run(
            client,
            in_flight,
            rows,
            load["answered"],
            seconds=figures.get("seconds", self._limit_s),
            ended=ended,
            most_at_once=load["most_at_once"],
            below_half=load["below_half"],
            cpu_ms=1000 * figures["cpu_s"] / load["answered"] if ended else None,
            rss_mb=figures.get("rss_mb"),
        )

    def resume(self, client: str, rows: int, in_flight: int, latency: float) -> Resumption:
        """Kill a client at half of its rows, start it again, and once more when all is done."""
        with self._teacher(latency) as teacher, self._work() as work:
            _call(teacher, f"reset?in_flight={in_flight}")
            with self._client(client, teacher, work, rows, in_flight) as first:
                while (answered := _call(teacher, "stats")["answered"]) < rows / 2:
                    if first.poll() is not None:
                        raise SystemExit(f"{client} ended before it was killed: use more rows")
                    time.sleep(0.02)
            started = time.monotonic()
            with self._client(client, teacher, work, rows, in_flight) as second:
                self._wait(second, client, work)
            resumed = _call(teacher, "stats")
            began = time.monotonic()
            with self._client(client, teacher, work, rows, in_flight) as third:
                self._wait(third, client, work)
            no_op_s = time.monotonic() - began
            no_op = _call(teacher, "stats")
        first_request_s = resumed["first_at"] - started
        again = answered + resumed["answered"] - rows
        return Resumption(client, rows, again, first_request_s, no_op_s, no_op["requests"])

    def _requests(self, rows: int) -> str:
        return str(make_workload(self._folder / f"rows-{rows}", rows).requests)

    @contextmanager
    def _work(self) -> Iterator[Path]:
        work = self._folder / "work"
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work)

    @contextmanager
    def _teacher(self, latency: float) -> Iterator[str]:
        command = [sys.executable, str(_HERE / "teacher.py"), "--latency", str(latency)]
        with running(command, cores=self._cores[:1]) as teacher:
            assert teacher.stdout is not None
            yield teacher.stdout.readline().strip()

    @contextmanager
    def _client(
        self, client: str, teacher: str, work: Path, rows: int, in_flight: int, *options: str
    ) -> Iterator["subprocess.Popen[str]"]:
        command = [self._pythons[client], str(_HERE / "clients" / _CLIENTS[client]), "--url", teacher]
        command += ["--requests", self.requests(rows), "--work", str(work), "--in-flight", str(in_flight), *options]
        # A home of its own: the user's settings do not count, and nothing is left there.
        environment = os.environ | _ENVIRONMENT | {"HOME": str(work)}
        cores = self._cores[1:] or self._cores
        with running(command, cores=cores, environment=environment, log=work / "log") as process:
            yield process

    def _wait(self, process: "subprocess.Popen[str]", client: str, work: Path) -> bool:
        try:
            status = process.wait(self._limit_s)
        except subprocess.TimeoutExpired:
            return False
        if status:
            log = (work / "log").read_text(errors="replace")
            raise SystemExit(f"{client} failed with status {status}:\n{log[-3000:]}")
        return True


def _call(teacher: str, route: str) -> dict[str, Any]:
    method = "POST" if route.startswith("reset") else "GET"
    request = urllib.request.Request(f"{teacher.removesuffix('/v1')}/{route}", method=method)
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _pythons(clients: Iterable[str]) -> dict[str, str]:
    """The interpreters by client; one that cannot be installed is named and left out."""
    pythons: dict[str, str] = {}
    for client in clients:
        try:
            requirement = _REQUIREMENTS.get(client)
            pythons[client] = str(environment_python(requirement)) if requirement else sys.executable
        except NotInstallable as error:
            print(f"{client} is left out: {_REQUIREMENTS[client]} cannot be installed: {error}", file=sys.stderr)
    return pythons


def speed_table(runs: list[Run]) -> str:
    """Rows a second and what they cost, by client and requests in flight."""
    reached = {(run.client, run.in_flight): run.rows_per_s for run in runs}
    head = ["in flight", "client", "rows", "rows/s", "of aiohttp", "of DataDesigner", "CPU ms a row", "peak RSS MB"]
    rows = []
    for run in runs:
        ratios = [reached.get((base, run.in_flight)) for base in (_BARE, _NEAREST)]
        rows.append(
            [
                f"{run.in_flight:,}",
                run.client,
                f"{run.answered:,}",
                f"{run.rows_per_s:.0f}" if run.ended else f"{run.rows_per_s:.0f} (stopped after {run.seconds:.0f} s)",
                *(f"{run.rows_per_s / base:.2f}" if base else "" for base in ratios),
                "" if run.cpu_ms is None else f"{run.cpu_ms:.2f}",
                "" if run.rss_mb is None else f"{run.rss_mb:.0f}",
                "" if run.below_half is None else f"{100 * run.below_half:.1f} %",
            ]
        )
    return _markdown([*head, "teacher below half full"], rows)


def memory_table(runs: list[Run]) -> str:
    """Peak memory by client and rows."""
    columns = sorted({run.rows for run in runs})
    peaks = {(run.client, run.rows): run.rss_mb for run in runs}
    rows = []
    for client in dict.fromkeys(run.client for run in runs):
        cells = (peaks.get((client, column)) for column in columns)
        rows.append([client, *("" if peak is None else f"{peak:.0f}" for peak in cells)])
    return _markdown(["peak RSS, MB", *(f"{column:,} rows" for column in columns)], rows)


def resume_table(resumptions: list[Resumption]) -> str:
    """What a kill costs, by client."""
    head = ["killed at half", "rows", "asked again", "first request after, s", "nothing left to do, s", "its requests"]
    rows = [
        [
            seen.client,
            f"{seen.rows:,}",
            f"{seen.asked_again:,}",
            f"{seen.first_request_s:.1f}",
            f"{seen.no_op_s:.1f}",
            str(seen.no_op_requests),
        ]
        for seen in resumptions
    ]
    return _markdown(head, rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, nargs="+", default=list(_LEVELS), help="requests at once")
    parser.add_argument("--rows", type=int, help="rows of each job, in place of 2,000 to 10,000")
    parser.add_argument("--only", nargs="+", choices=_CLIENTS, default=list(_CLIENTS), help="these clients")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="these measurements")
    parser.add_argument("--limit", type=float, default=90, help="seconds after which a job is stopped")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    end_on_sigterm()
    pythons = _pythons(client for client in _CLIENTS if client in arguments.only)
    results: dict[str, list[Any]] = {part: [] for part in arguments.parts}
    with tempfile.TemporaryDirectory(prefix="opencharacter-bench-") as folder:
        bench = Bench(Path(folder), pythons, arguments.limit)
        if "speed" in results:
            for in_flight in arguments.in_flight:
                latency, rows = _LEVELS.get(in_flight, _OTHER_LEVEL)
                for client in pythons:
                    run = bench.measure(client, arguments.rows or rows, in_flight, latency)
                    _note(f"{in_flight} in flight: {client} {run.rows_per_s:.0f} rows/s")
                    results["speed"].append(run)
            print(speed_table(results["speed"]), end="\n\n", flush=True)
        if "memory" in results:
            results["memory"] += [run for run in results.get("speed", ()) if run.in_flight == _AT_ONCE and run.ended]
            for rows, clients in _MEMORY.items():
                for client in (name for name in pythons if name in clients):
                    _note(f"{rows} rows: {client}")
                    results["memory"].append(bench.measure(client, rows, _AT_ONCE, _LATENCY))
            print(memory_table(results["memory"]), end="\n\n", flush=True)
        if "resume" in results:
            at_once = min(_AT_ONCE, max(arguments.in_flight))
            for client in (name for name in pythons if name in _CAN_RESUME):
                _note(f"resume: {client}")
                results["resume"].append(bench.resume(client, arguments.rows or _RESUME_ROWS, at_once, _LATENCY))
            print(resume_table(results["resume"]), flush=True)
    if arguments.json:
        parts = {part: [dataclasses.asdict(item) for item in items] for part, items in results.items()}
        arguments.json.write_text(json.dumps(parts, indent=2))


if __name__ == "__main__":
    main()
