"""The CI workflow that runs the acceptance suite: pinned, and the guide's own commands."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support.acceptance.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "cluster.yml").read_text(encoding="utf-8")
STEPS: list[dict[str, Any]] = yaml.safe_load(TEXT)["jobs"]["acceptance"]["steps"]


def guide(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/cluster/guide.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_images_are_pinned_by_version() -> None:
    for name, image in yaml.safe_load(TEXT)["env"].items():
        assert name == "REGISTRY" or re.search(r":\d+(\.\d+)+$", image), image


def test_the_suites_variables_are_known() -> None:
    named = {name for step in STEPS for name in step.get("env", {}) if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(Settings.model_fields)
    assert f"{PREFIX}IMAGES" in named


def test_the_platform_is_the_guides() -> None:
    [step] = [step for step in STEPS if "guide.py" in step.get("run", "")]
    section, without = re.findall(r'guide\.py "(.*?)" --without (\w+)', step["run"])[0]
    done = guide(section, "--without", without)
    assert done.returncode == 0, done.stderr
    for part in ("cert-manager", "kserve-resources", "kubeflow/pipelines", "kubeflow/trainer", "kueue"):
        assert part in done.stdout, part
    assert "nvidia" not in done.stdout.lower()
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode == 0


def test_a_section_that_is_not_there_is_named() -> None:
    done = guide("9. Nothing")
    assert done.returncode == 1
    assert "no section '9. Nothing'" in done.stderr
