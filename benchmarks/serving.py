"""What a proxy before a model server costs: our transformer and others, side by side.

    python benchmarks/serving.py [--only opencharacter] [--streams 1 16 64 256] [--json results.json]

All stand before the same fake model server and get the same requests; `direct` is the server itself. A proxy has one
core to itself; the server and the callers have another. Other systems run in environments of their own, which are made
on first use; one that cannot be had is left out by name. PyPI's `vllm-router` is the router in Rust; the one in Python,
vLLM production-stack's, is in no package index: give a checkout of its repository with --production-stack. Everything
runs in turns, so use a machine that is otherwise idle.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from endpoint import allowed_cores, chat_body, model_server, post, set_pace, stats, transformer
from environments import NotInstallable, environment_python
from processes import cpu_seconds, end_on_sigterm, memory_mb, raise_open_files, running
from tables import markdown, shown

from opencharacter.system.processes import free_port

_HERE = Path(__file__).parent
_DIRECT, _OURS, _BARE = "direct", "opencharacter", "pass-through"
_ROUTER, _RUST_ROUTER, _LITELLM = "production-stack router", "vllm-router", "litellm"
_REQUIREMENTS = {_RUST_ROUTER: "vllm-router==0.1.17", _LITELLM: "litellm[proxy]==1.108.7"}

_FIRST_S, _GAP_S = 0.05, 0.032
"""The paced server: seconds until the first token, and between two. 256 streams get 8,000 tokens/s, one H100's."""
_ANSWERS = {1: 8, 16: 32, 64: 64, 256: 128}
"""Tokens of an answer by streams: few where few streams would otherwise give few first tokens."""
_UNPACED_TOKENS = 1024
_ONE_TOKEN_CALLERS = 16
_READY_S = 120.0
_IDLE_WITHIN_S = 15.0

# Nobody sends usage figures anywhere, looks up prices, or takes a proxy for the server.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


@dataclass(frozen=True)
class Proxy:
    """Something that answers chat calls."""

    url: str
    """Ends in `/v1`."""
    pid: int | None = None
    """Of the process that is measured, with all that it started; none for the server itself."""


@dataclass
class Measurement:
    """What callers saw of a proxy, and what it took."""

    system: str
    kind: str
    """`paced`, `unpaced`, or `one token`."""
    callers: int
    seconds: float
    tokens: int
    answers: int
    failures: int
    first_p50_ms: float | None
    first_p99_ms: float | None
    cpu_s: float | None
    memory_mb: float | None

    @property
    def tokens_per_s(self) -> float:
        """Tokens that reached the callers."""
        return self.tokens / self.seconds

    @property
    def cpu_ms_per_token(self) -> float | None:
        """User and system time of the proxy."""
        return None if self.cpu_s is None or not self.tokens else 1000 * self.cpu_s / self.tokens


class Bench:
    """A fake model server, and one proxy at a time before it."""

    def __init__(self, folder: Path, server: str, production_stack: Path | None) -> None:
        self._folder = folder
        self._server = server
        self._production_stack = production_stack
        self._proxy_cores, self._load_cores = allowed_cores()
        self._starts: dict[str, Callable[[], AbstractContextManager[Proxy]]] = {
            _DIRECT: self._direct,
            _OURS: self._ours,
            _BARE: self._bare,
            _ROUTER: self._router,
            _RUST_ROUTER: self._rust_router,
            _LITELLM: self._litellm,
        }

    @contextmanager
    def proxy(self, system: str) -> Iterator[Proxy]:
        """Start a system and wait until it passes a call on. Raises `NotInstallable`."""
        with self._starts[system]() as proxy:
            _wait_until_it_answers(proxy, _body(system, stream=False, tokens=1), system)
            yield proxy

    def paced(self, system: str, proxy: Proxy, streams: int, seconds: float) -> Measurement:
        """Streams at the pace of a real server."""
        set_pace(self._server, _FIRST_S, _GAP_S)
        tokens = _ANSWERS.get(streams, 64)
        body = _body(system, stream=True, tokens=tokens)
        return self._measure(system, "paced", proxy, body, streams, seconds, spread=_FIRST_S + tokens * _GAP_S)

    def unpaced(self, system: str, proxy: Proxy, streams: int, seconds: float) -> Measurement:
        """Streams as fast as they are taken."""
        set_pace(self._server, 0, 0)
        body = _body(system, stream=True, tokens=_UNPACED_TOKENS)
        return self._measure(system, "unpaced", proxy, body, streams, seconds)

    def one_token(self, system: str, proxy: Proxy, seconds: float) -> Measurement:
        """Whole answers of one token."""
        set_pace(self._server, 0, 0)
        body = _body(system, stream=False, tokens=1)
        return self._measure(system, "one token", proxy, body, _ONE_TOKEN_CALLERS, seconds)

    def _measure(
        self, system: str, kind: str, proxy: Proxy, body: bytes, callers: int, seconds: float, *, spread: float = 0.0
    ) -> Measurement:
        self._wait_until_idle()
        file = self._folder / "body.json"
        file.write_bytes(body)
        command = [sys.executable, str(_HERE / "stream_load.py"), "--url", proxy.url, "--body", str(file)]
        command += ["--callers", str(callers), "--spread", str(spread)]
        command += ["--warm-up", str(min(1.0, seconds / 5)), "--seconds", str(seconds)]
        log = self._folder / "load.log"
        log.write_bytes(b"")
        with running(command, cores=self._load_cores, errors=log) as load:
            assert load.stdout is not None
            if load.stdout.readline() != "begin\n":
                raise SystemExit(f"{system}, {callers} callers, {kind}: {log.read_text()[-2000:]}")
            before = cpu_seconds(proxy.pid) if proxy.pid else None
            line = load.stdout.readline()
            if not line:
                raise SystemExit(f"{system}, {callers} callers, {kind}: {log.read_text()[-2000:]}")
            cpu_s = cpu_seconds(proxy.pid) - before if proxy.pid and before is not None else None
            memory = memory_mb(proxy.pid) if proxy.pid else None
        seen = json.loads(line)
        firsts = seen.pop("first_token_s")
        cuts = statistics.quantiles(firsts, n=100, method="inclusive") if len(firsts) > 1 else None
        del seen["counts"]
        return Measurement(
            system,
            kind,
            callers,
            **seen,
            first_p50_ms=1000 * cuts[49] if cuts else None,
            first_p99_ms=1000 * cuts[98] if cuts else None,
            cpu_s=cpu_s,
            memory_mb=memory,
        )

    def _wait_until_idle(self) -> None:
        # Callers of the last measurement have left; not every proxy notices at once.
        deadline = time.monotonic() + _IDLE_WITHIN_S
        while stats(self._server)["open"] and time.monotonic() < deadline:
            time.sleep(0.2)

    @contextmanager
    def _direct(self) -> Iterator[Proxy]:
        yield Proxy(f"{self._server}/v1")

    @contextmanager
    def _ours(self) -> Iterator[Proxy]:
        with transformer(self._server, self._folder, self._proxy_cores) as started:
            yield Proxy(started.url, started.pid)

    @contextmanager
    def _bare(self) -> Iterator[Proxy]:
        port = free_port()
        command = [sys.executable, str(_HERE / "passthrough.py"), "--upstream", self._server, "--port", str(port)]
        with self._process(command, port) as proxy:
            yield proxy

    @contextmanager
    def _router(self) -> Iterator[Proxy]:
        if self._production_stack is None:
            raise NotInstallable("give a checkout of its repository: --production-stack")
        source = self._production_stack / "src"
        needs = f"-r{source / 'vllm_router' / 'requirements.txt'}"
        python, port = environment_python(needs, name="production-stack"), free_port()
        command = [str(python), "-m", "vllm_router.app", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--service-discovery", "static", "--static-backends", self._server, "--static-models", "fake"]
        command += ["--routing-logic", "roundrobin", "--log-level", "warning"]
        with self._process(command, port, {"PYTHONPATH": str(source)}) as proxy:
            yield proxy

    @contextmanager
    def _rust_router(self) -> Iterator[Proxy]:
        python, port = environment_python(_REQUIREMENTS[_RUST_ROUTER]), free_port()
        command = [str(python.parent / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", self._server, "--policy", "round_robin", "--log-level", "warning"]
        command += ["--prometheus-port", str(free_port())]
        with self._process(command, port) as proxy:
            yield proxy

    @contextmanager
    def _litellm(self) -> Iterator[Proxy]:
        python, port = environment_python(_REQUIREMENTS[_LITELLM]), free_port()
        settings = self._folder / "litellm.yaml"
        model = {"model": "openai/fake", "api_base": f"{self._server}/v1", "api_key": "none"}
        settings.write_text(json.dumps({"model_list": [{"model_name": "fake", "litellm_params": model}]}))
        command = [str(python.parent / "litellm"), "--config", str(settings), "--host", "127.0.0.1"]
        with self._process([*command, "--port", str(port), "--telemetry", "False"], port) as proxy:
            yield proxy

    @contextmanager
    def _process(self, command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[Proxy]:
        variables = os.environ | _ENVIRONMENT | {"HOME": str(self._folder)} | (environment or {})
        log = self._folder / "proxy.log"
        log.write_bytes(b"")
        with running(command, cores=self._proxy_cores, environment=variables, log=log) as process:
            try:
                yield Proxy(f"http://127.0.0.1:{port}/v1", process.pid)
            except _NoAnswer as error:
                raise SystemExit(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from error


class _NoAnswer(Exception):
    pass


def _wait_until_it_answers(proxy: Proxy, body: bytes, system: str) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            post(f"{proxy.url}/chat/completions", body)
            return
        except OSError as error:
            if time.monotonic() > deadline or _has_ended(proxy):
                raise _NoAnswer(f"{system} does not answer: {error}") from error
        time.sleep(0.2)


def _has_ended(proxy: Proxy) -> bool:
    # Without taking the status away from who waits for it.
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return proxy.pid is not None and os.waitid(os.P_PID, proxy.pid, flags) is not None


def _body(system: str, *, stream: bool, tokens: int) -> bytes:
    # Others get what the transformer makes of the character, so that the server gets the same.
    return chat_body(stream=stream, tokens=tokens, rendered=system != _OURS)


def paced_table(seen: list[Measurement]) -> str:
    """What a stream at a real server's pace costs."""
    direct = {run.callers: run for run in seen if run.system == _DIRECT}
    head = ["streams", "system", "TTFT added, ms: p50", "p99", "tokens/s", "of direct", "CPU ms a token", "memory MB"]
    rows = []
    for run in sorted(seen, key=lambda run: run.callers):
        base = direct.get(run.callers)
        rows.append(
            [
                f"{run.callers}",
                run.system,
                _added(run, base, "first_p50_ms"),
                _added(run, base, "first_p99_ms"),
                f"{run.tokens_per_s:,.0f}",
                f"{run.tokens_per_s / base.tokens_per_s:.2f}" if base else "",
                shown(run.cpu_ms_per_token, ".3f"),
                shown(run.memory_mb, ".0f"),
            ]
        )
    return markdown(head, rows)


def _added(run: Measurement, base: Measurement | None, name: str) -> str:
    value, least = getattr(run, name), getattr(base, name, None)
    if run is base or least is None:
        return f"({shown(value, '.1f')})"
    return shown(None if value is None else value - least, ".1f")


def unpaced_table(seen: list[Measurement]) -> str:
    """How many tokens go through."""
    levels = sorted({run.callers for run in seen})
    runs = {(run.system, run.callers): run for run in seen}
    head = ["unpaced, tokens/s", *(f"{level} streams" if level > 1 else "1 stream" for level in levels)]
    rows = []
    for system in dict.fromkeys(run.system for run in seen):
        found = [runs.get((system, level)) for level in levels]
        rows.append([system, *(f"{run.tokens_per_s:,.0f}" if run else "" for run in found)])
    return markdown(head, rows)


def one_token_table(seen: list[Measurement]) -> str:
    """How many requests go through."""
    head = [f"one-token answers, {_ONE_TOKEN_CALLERS} callers", "requests/s", "CPU ms a request"]
    rows = [
        [
            run.system,
            f"{run.answers / run.seconds:,.0f}",
            "" if run.cpu_s is None or not run.answers else f"{1000 * run.cpu_s / run.answers:.2f}",
        ]
        for run in seen
    ]
    return markdown(head, rows)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_TABLES = {"paced": paced_table, "one token": one_token_table, "unpaced": unpaced_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    systems = (_DIRECT, _OURS, _BARE, _ROUTER, _RUST_ROUTER, _LITELLM)
    parser.add_argument("--only", nargs="+", choices=systems[1:], default=systems[1:], help="these, and `direct`")
    parser.add_argument("--streams", type=int, nargs="+", default=list(_ANSWERS), help="streams at once")
    parser.add_argument("--seconds", type=float, default=10, help="of a measurement with a pace; others take half")
    parser.add_argument("--parts", nargs="+", choices=_TABLES, default=list(_TABLES), help="these measurements")
    parser.add_argument("--production-stack", type=Path, help="a checkout of vllm-project/production-stack")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    end_on_sigterm()
    raise_open_files(4 * max(arguments.streams) + 1024)
    results: list[Measurement] = []
    _, load_cores = allowed_cores()
    with (
        tempfile.TemporaryDirectory(prefix="opencharacter-bench-") as folder,
        model_server(load_cores) as server,
    ):
        bench = Bench(Path(folder), server, arguments.production_stack)
        for system in (system for system in systems if system in (_DIRECT, *arguments.only)):
            try:
                with bench.proxy(system) as proxy:
                    _note(system)
                    results += _measure(bench, system, proxy, arguments)
            except NotInstallable as error:
                _note(f"{system} is left out: {error}")
    for part in arguments.parts:
        print(_TABLES[part]([run for run in results if run.kind == part]), end="\n\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(run) for run in results], indent=2))


def _measure(bench: Bench, system: str, proxy: Proxy, arguments: argparse.Namespace) -> Iterator[Measurement]:
    if "paced" in arguments.parts:
        for streams in arguments.streams:
            yield bench.paced(system, proxy, streams, arguments.seconds)
    if "one token" in arguments.parts:
        yield bench.one_token(system, proxy, arguments.seconds / 2)
    if "unpaced" in arguments.parts:
        for streams in arguments.streams:
            yield bench.unpaced(system, proxy, streams, arguments.seconds / 2)


if __name__ == "__main__":
    main()
