"""The benchmark of serving runs against the transformer and a bare proxy."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serving.py"


def test_it_measures_the_transformer_and_a_bare_proxy(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--only", "opencharacter", "pass-through", "--parts", "paced", "one token"]
    options += ["--streams", "2", "--seconds", "0.5", "--json", str(results)]
    ended = subprocess.run([sys.executable, BENCHMARK, *options], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    runs = json.loads(results.read_text())
    assert [(run["system"], run["kind"]) for run in runs] == [
        (system, kind) for system in ("direct", "opencharacter", "pass-through") for kind in ("paced", "one token")
    ]
    for run in runs:
        assert run["tokens"] > 0
        assert not run["failures"]
        if run["system"] != "direct":
            assert run["cpu_s"] > 0
            assert run["memory_mb"] > 0
    assert ended.stdout.count("| opencharacter |") == 2
