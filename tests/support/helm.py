"""The chart, rendered by the real helm."""

import importlib.util
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "opencharacter"
VALUES_FILES = tuple(sorted(path.name for path in CHART.glob("values*.yaml")))
NAMESPACE = "kubeflow-user"

Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm, which `make test-charts` puts on the PATH."""
    return subprocess.run(["helm", *arguments], capture_output=True, text=True)


@cache
def template(values: str, *settings: str) -> str:
    """What `helm template` prints for a shipped values file and further `--set` settings, hooks included."""
    sets = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "opencharacter", str(CHART), "-n", NAMESPACE, "-f", str(CHART / values), *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(values: str, *settings: str) -> list[Manifest]:
    """The rendered objects."""
    return [document for document in yaml.safe_load_all(template(values, *settings)) if document]


def one(kind: str, name: str, values: str = "values.yaml", *settings: str) -> Manifest:
    """The one rendered object of a kind and name."""
    (found,) = [each for each in objects(values, *settings) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def refusal(*settings: str) -> str:
    """The message with which helm refuses settings."""
    sets = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "opencharacter", str(CHART), *sets)
    assert done.returncode != 0, "helm took what it should refuse"
    return done.stderr


def load_script(path: Path) -> ModuleType:
    """A script of this repository that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
