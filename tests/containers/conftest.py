"""An engine of our own, stand-in bases, and the images, built once a session by the README's command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.build_script import build_script
from support.private_engine import engine_folder, private_engine
from support.standin_bases import make_standins

ROOT = Path(__file__).parents[2]
_BUILD_S = 2400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first test to ask for the images waits for their build.
    for item in items:
        if "images" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_BUILD_S))


@pytest.fixture(scope="session")
def engine() -> Iterator[dict[str, str]]:
    """A running engine's variables, which this process has too."""
    assert os.getuid() == 0, "the container tests run an engine, which needs root"
    with private_engine() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


@pytest.fixture(scope="session")
def images(engine: dict[str, str]) -> dict[str, str]:
    """The built images' references by name."""
    bake = build_script().Bake({})
    kinds = {"PYTHON_IMAGE": "python", "VLLM_IMAGE": "python", "CUDA_IMAGE": "bare", "CUDA_BUILD_IMAGE": "bare"}
    make_standins({bake.value(variable): kind for variable, kind in kinds.items()}, engine)
    # No GPU here, no vLLM in the stand-in, and no network but the host's.
    variables = {"FLAVOUR": "cpu", "VLLM_IN_BASE": "0", "BUILD_FLAGS": "--network host --progress plain"}
    log = engine_folder() / "build.log"
    with log.open("w") as output:
        command = ["make", "images", f"PYTHON={sys.executable}"]
        result = subprocess.run(command, cwd=ROOT, env=os.environ | variables, stdout=output, stderr=output)
    assert result.returncode == 0, "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    return {name: bake.target(name)["tags"][0] for name in bake.images}
