"""tests/cluster without a cluster: it collects, skips in one line, and imports nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.acceptance.plugin import ORDER
from support.acceptance.settings import PREFIX

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "vllm", "mlflow", "kfp", "boto3", "kubernetes")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "AWS_", "PYTEST"))}
    script = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]);"
        f"print('heavy:', sorted(set({HEAVY}) & set(sys.modules))); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, "tests/cluster", "-n", "0", *arguments]
    environment = kept | {"KUBECONFIG": "/absent"} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_without_a_cluster_one_line_says_what_is_missing() -> None:
    done = run()
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(skipped) == 1
    assert f"set {PREFIX}NAMESPACE and others, see tests/cluster/README.md" in skipped[0]
    assert "heavy: []" in done.stdout


def test_partial_settings_skip_with_what_is_missing_and_show_the_table() -> None:
    done = run(**{f"{PREFIX}NAMESPACE": "kubeflow"})
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition(" promises ")[2]
    assert "helm test passes" in table
    assert "not set: KUBECONFIG (no file /absent)" in table
    assert f"{PREFIX}IMAGES or {PREFIX}REGISTRY" in table
    assert f"{PREFIX}WORKSPACE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in table


def test_a_bad_variable_ends_the_suite_before_it_begins() -> None:
    done = run(**{f"{PREFIX}NAMESPACE": "Not A Name"})
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{PREFIX}NAMESPACE" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_file_of_the_suite_has_its_place() -> None:
    assert {path.stem for path in (ROOT / "tests" / "cluster").glob("test_*.py")} == set(ORDER)
