"""The benchmark of synthesis runs, and leaves nothing behind when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "synthesis.py"


def test_it_measures_speed_and_resumption_without_other_systems(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--only", "aiohttp", "opencharacter", "--parts", "speed", "resume", "--in-flight", "8", "--rows", "120"]
    command = [sys.executable, BENCHMARK, *options, "--json", results]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(results.read_text())
    assert [(run["client"], run["answered"], run["ended"]) for run in seen["speed"]] == [
        ("aiohttp", 120, True),
        ("opencharacter", 120, True),
    ]
    assert all(run["most_at_once"] == 8 and run["cpu_ms"] > 0 for run in seen["speed"])
    (resumed,) = seen["resume"]
    assert resumed["asked_again"] <= 8, "only what was under way is asked again"
    assert resumed["no_op_requests"] == 0
    assert ended.stdout.count("| opencharacter |") == 2


def test_a_stopped_benchmark_leaves_no_process(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, BENCHMARK, "--only", "aiohttp", "--parts", "speed", "--in-flight", "1", "--rows", "300"]
    for stop in (signal.SIGTERM, signal.SIGKILL):
        benchmark = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while not (children := _children(benchmark.pid)) or len(children) < 2:
            assert benchmark.poll() is None
            time.sleep(0.05)
        pidfds = [os.pidfd_open(child) for child in children]
        benchmark.send_signal(stop)
        benchmark.wait()
        for pidfd in pidfds:
            assert _has_ended(pidfd), f"a child outlives {stop!r}"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _has_ended(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 10)[0])
