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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import prefix_hits
from environments import NotInstallable, environment_python
from processes import end_on_sigterm, raise_open_files, running
from tables import markdown, percent, shown
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
_MEMORY = {1000: tuple(_CLIENTS), 100_000: (_OURS,)}
"""By rows: who makes so many. 10,000 are those of 256 in flight; for 100,000 the others would need many minutes."""
_RESUME_ROWS = 4000
_AT_ONCE, _LATENCY = 256, 0.3
"""Of the jobs that measure memory and resumption."""
_PARTS = ("speed", "memory", "resume", "scale")

_SCALE_ROWS, _SHARD = 306_000, "0/8"
_KEPT_PROMPTS = 500
"""System prompts in a server's prefix cache besides the requests under way; some 200,000 tokens, as an 8B on 80 GB."""
_SLOW_ROWS, _PUT_S = 20_000, 0.04
_WARM_UP_ROWS = 10
_LONGEST_S = 900.0

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
    first_request_s: float | None
    """From the start of the job."""
    most_at_once: int
    below_half: float | None
    """Share of the time in which the teacher had less than half of the requests that it may have."""
    prefix_hits: float | None
    """Share of the requests whose system prompt a prefix cache would hold."""
    cpu_ms: float | None
    """User and system time of the client's process for one row."""
    rss_mb: float | None

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


Results = dict[str, list[Any]]
"""Figures by part."""


class Bench:
    """Runs clients, one at a time."""

    def __init__(self, folder: Path, pythons: dict[str, str], limit_s: float) -> None:
        self.clients = list(pythons)
        self._folder = folder
        self._pythons = pythons
        self._limit_s = limit_s
        self._cores = sorted(os.sched_getaffinity(0))
        self._workload = cache(self._make_workload)

    def measure(
        self,
        client: str,
        rows: int,
        in_flight: int,
        latency: float,
        *,
        prompts: int = 0,
        settings: dict[str, str] | None = None,
        limited: bool = True,
    ) -> Run:
        """One job of a client; `limited` stops it at the time limit."""
        options = ["--warm-up", str(self._requests(client, _WARM_UP_ROWS)), "--prompts", str(prompts)]
        options += [f"--set={name}={value}" for name, value in (settings or {}).items()]
        with self.teacher(latency) as teacher, self._work() as work:
            with self._client(client, teacher, work, self._requests(client, rows), in_flight, *options) as process:
                ended = self._wait(process, client, work, self._limit_s if limited else _LONGEST_S)
                load = _call(teacher, "stats")
            figures = json.loads((work / "figures.json").read_text()) if ended else {}
        return Run(
            client,
            in_flight,
            rows,
            load["answered"],
            seconds=figures.get("seconds", self._limit_s),
            ended=ended,
            first_request_s=load["first_at"] - figures["started_at"] if ended else None,
            most_at_once=load["most_at_once"],
            below_half=load["below_half"],
            prefix_hits=load["prefix_hits"],
            cpu_ms=1000 * figures["cpu_s"] / load["answered"] if ended else None,
            rss_mb=figures.get("rss_mb"),
        )

    def resume(self, client: str, rows: int, in_flight: int, latency: float) -> Resumption:
        """Kill a client at half of its rows, start it again, and once more when all is done."""
        with self.teacher(latency) as teacher, self._work() as work:
            _call(teacher, f"reset?in_flight={in_flight}")
            with self._client(client, teacher, work, self._requests(client, rows), in_flight) as first:
                while (answered := _call(teacher, "stats")["answered"]) < rows / 2:
                    if first.poll() is not None:
                        raise SystemExit(f"{client} ended before it was killed: use more rows")
                    time.sleep(0.02)
            started = time.monotonic()
            with self._client(client, teacher, work, self._requests(client, rows), in_flight) as second:
                self._wait(second, client, work)
            resumed = _call(teacher, "stats")
            began = time.monotonic()
            with self._client(client, teacher, work, self._requests(client, rows), in_flight) as third:
                self._wait(third, client, work)
            no_op_s = time.monotonic() - began
            no_op = _call(teacher, "stats")
        first_request_s = resumed["first_at"] - started
        again = answered + resumed["answered"] - rows
        return Resumption(client, rows, again, first_request_s, no_op_s, no_op["requests"])

    def record(self, file: Path) -> Path:
        """The requests that the library sends for a few characters, in their order."""
        rows, characters = prefix_hits.ROWS, prefix_hits.CHARACTERS
        requests = make_workload(self._folder / "recorded", rows, characters=characters, for_others=False)
        with (
            self.teacher(0.05, "--record", str(file)) as teacher,
            self._work() as work,
            self._client(_OURS, teacher, work, requests, prefix_hits.IN_FLIGHT) as process,
        ):
            self._wait(process, _OURS, work)
        return file

    def _requests(self, client: str, rows: int) -> Path:
        return self._workload(rows, client != _OURS)

    def _make_workload(self, rows: int, for_others: bool) -> Path:
        return make_workload(self._folder / f"rows-{rows}-{for_others}", rows, for_others=for_others)

    @contextmanager
    def _work(self) -> Iterator[Path]:
        work = self._folder / "work"
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work)

    @contextmanager
    def teacher(self, latency: float, *options: str) -> Iterator[str]:
        """The address of a fake teacher."""
        command = [sys.executable, str(_HERE / "teacher.py"), "--latency", str(latency), *options]
        with running(command, cores=self._cores[:1]) as teacher:
            assert teacher.stdout is not None
            yield teacher.stdout.readline().strip()

    @contextmanager
    def _client(
        self, client: str, teacher: str, work: Path, requests: Path, in_flight: int, *options: str
    ) -> Iterator["subprocess.Popen[str]"]:
        command = [self._pythons[client], str(_HERE / "clients" / _CLIENTS[client]), "--url", teacher]
        command += ["--requests", str(requests), "--work", str(work), "--in-flight", str(in_flight), *options]
        # A home of its own: the user's settings do not count, and nothing is left there.
        environment = os.environ | _ENVIRONMENT | {"HOME": str(work)}
        cores = self._cores[1:] or self._cores
        with running(command, cores=cores, environment=environment, log=work / "log") as process:
            yield process

    def _wait(self, process: "subprocess.Popen[str]", client: str, work: Path, limit_s: float = _LONGEST_S) -> bool:
        try:
            status = process.wait(limit_s)
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
                shown(run.cpu_ms, ".2f"),
                shown(run.rss_mb, ".0f"),
                percent(run.below_half),
            ]
        )
    return markdown([*head, "teacher below half full"], rows)


def memory_table(runs: list[Run]) -> str:
    """Peak memory by client and rows."""
    columns = sorted({run.rows for run in runs})
    peaks = {(run.client, run.rows): run.rss_mb for run in runs}
    rows = []
    for client in dict.fromkeys(run.client for run in runs):
        cells = (peaks.get((client, column)) for column in columns)
        rows.append([client, *(shown(peak, ".0f") for peak in cells)])
    return markdown(["peak RSS, MB", *(f"{column:,} rows" for column in columns)], rows)


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
    return markdown(head, rows)


def scale_table(planned: Run, slow: Run) -> str:
    """What grows with the rows, and what a slow store costs."""
    share = f"shard {_SHARD} of {planned.rows:,} rows"
    store = f"{slow.rows:,} rows on a store with {1000 * _PUT_S:.0f} ms a put"
    rows = [
        [f"{share}: seconds until the first request", shown(planned.first_request_s, ".1f")],
        [f"{share}: peak RSS, MB", shown(planned.rss_mb, ".0f")],
        [f"{share}: requests whose system prompt is cached", percent(planned.prefix_hits)],
        [f"{store}: time with the teacher below half full", percent(slow.below_half)],
        [f"{store}: rows/s", f"{slow.rows_per_s:.0f}"],
    ]
    return markdown(["at scale", _OURS], rows)


def prefix_table(replays: list[prefix_hits.Replay]) -> str:
    """What the order of rows is worth."""
    rows = [
        [
            seen.order,
            str(seen.rows),
            f"{seen.prompt_tokens:,}",
            percent(seen.cached_tokens / seen.prompt_tokens),
            f"{seen.seconds:.0f}",
        ]
        for seen in replays
    ]
    return markdown(["vLLM on a CPU: order of rows", "rows", "prompt tokens", "from the prefix cache", "seconds"], rows)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, nargs="+", default=list(_LEVELS), help="requests at once")
    parser.add_argument("--rows", type=int, help="rows of each job, in place of those that are fixed for each part")
    parser.add_argument("--only", nargs="+", choices=_CLIENTS, default=list(_CLIENTS), help="these clients")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="these measurements")
    parser.add_argument("--prefix-hits", action="store_true", help="also ask a real vLLM server, on this machine's CPU")
    parser.add_argument("--limit", type=float, default=75, help="seconds after which a job of `speed` is stopped")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    end_on_sigterm()
    raise_open_files(4 * max(arguments.in_flight) + 1024)
    pythons = _pythons(client for client in _CLIENTS if client in arguments.only)
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="opencharacter-bench-") as folder:
        bench = Bench(Path(folder), pythons, arguments.limit)
        for part in (part for part in _PARTS if part in arguments.parts):
            results[part] = list(_MEASURE[part](bench, arguments, results))
            if results[part]:
                print(_TABLES[part](results[part]), end="\n\n", flush=True)
        if arguments.prefix_hits:
            _note("prefix hits: a real vLLM server")
            results["prefix_hits"] = list(prefix_hits.replay(bench.record(Path(folder) / "recorded.jsonl")))
            print(prefix_table(results["prefix_hits"]), flush=True)
    if arguments.json:
        parts = {part: [dataclasses.asdict(item) for item in items] for part, items in results.items()}
        arguments.json.write_text(json.dumps(parts, indent=2))


def _measure_speed(bench: Bench, arguments: argparse.Namespace, _: Results) -> Iterator[Run]:
    for in_flight in arguments.in_flight:
        latency, rows = _LEVELS.get(in_flight, _OTHER_LEVEL)
        for client in bench.clients:
            run = bench.measure(client, arguments.rows or rows, in_flight, latency)
            _note(f"{in_flight} in flight: {client} {run.rows_per_s:.0f} rows/s")
            yield run


def _measure_memory(bench: Bench, arguments: argparse.Namespace, results: Results) -> Iterator[Run]:
    yield from (run for run in results.get("speed", ()) if run.in_flight == _AT_ONCE and run.ended)
    for rows, clients in _MEMORY.items():
        for client in (name for name in bench.clients if name in clients):
            _note(f"{rows} rows: {client}")
            yield bench.measure(client, arguments.rows or rows, _AT_ONCE, _LATENCY, limited=False)


def _measure_resumption(bench: Bench, arguments: argparse.Namespace, _: Results) -> Iterator[Resumption]:
    at_once = min(_AT_ONCE, max(arguments.in_flight))
    for client in (name for name in bench.clients if name in _CAN_RESUME):
        _note(f"resume: {client}")
        yield bench.resume(client, arguments.rows or _RESUME_ROWS, at_once, _LATENCY)


def _measure_scale(bench: Bench, arguments: argparse.Namespace, _: Results) -> Iterator[Run]:
    if _OURS not in bench.clients:
        return
    at_once = min(_AT_ONCE, max(arguments.in_flight))
    _note("scale: planning and order")
    shard = {"shard": _SHARD}
    yield bench.measure(
        _OURS, arguments.rows or _SCALE_ROWS, at_once, 0, prompts=_KEPT_PROMPTS, settings=shard, limited=False
    )
    _note("scale: a slow store")
    slow = {"put_s": str(_PUT_S)}
    yield bench.measure(_OURS, arguments.rows or _SLOW_ROWS, at_once, _LATENCY, settings=slow, limited=False)


_MEASURE: dict[str, Callable[[Bench, argparse.Namespace, Results], Iterator[Any]]] = {
    "speed": _measure_speed,
    "memory": _measure_memory,
    "resume": _measure_resumption,
    "scale": _measure_scale,
}
_TABLES: dict[str, Callable[[list[Any]], str]] = {
    "speed": speed_table,
    "memory": memory_table,
    "resume": resume_table,
    "scale": lambda runs: scale_table(*runs),
}


if __name__ == "__main__":
    main()
