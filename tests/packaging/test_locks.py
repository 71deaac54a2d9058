"""Every lock file installs from the package index alone, on each supported Python."""

import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.build_script import script

ROOT = Path(__file__).parents[2]
# The first test waits for all resolutions, and they for the index.
pytestmark = pytest.mark.timeout(900)
LOCKS = [path.stem for path in sorted(ROOT.glob("requirements/*.lock"))]
PYTHONS = ["3.11", "3.12", "3.13"]
# What has no wheel, and builds without a compiler or with the one that DeepSpeed needs anyway.
_SOURCES = {"deepspeed", "kfp", "kfp-server-api", "langdetect", "rouge-score", "sqlitedict", "word2number"}


def _plain(environment: dict[str, str]) -> dict[str, str]:
    """The variables of a machine that has the package index, and nothing besides."""
    index = {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}
    return {name: value for name, value in environment.items() if not name.startswith("UV_") or name in index} | {
        "UV_CONFIG_FILE": str(ROOT / "uv.toml"),
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _resolve(lock: Path, python: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    names = re.findall(r"^([\w.-]+)", lock.read_text(), re.MULTILINE)
    wheels = [word for name in names if name not in _SOURCES for word in ("--only-binary", name)]
    # Wheels for the C library of 2020 and newer.
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python", sys.executable, "--python-version", python, "--python-platform", "x86_64-manylinux_2_31"]
    return subprocess.run([*command, *wheels, str(lock)], env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def index() -> dict[str, str]:
    """A plain machine's variables, with the index that this machine installs from."""
    install = script("requirements/install.py")
    pip = {name: value for name, value in install.pip_settings().items() if name == "index-url"}
    environment = _plain(install.uv_environment(dict(os.environ), pip))
    url = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or "https://pypi.org/simple"
    try:
        httpx.get(f"{url.rstrip('/')}/uv/", timeout=30, follow_redirects=True)
    except httpx.TransportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no network: the package index does not answer ({error}), so no lock can be resolved")
    return environment


@pytest.fixture(scope="module")
def resolved(index: dict[str, str]) -> dict[tuple[str, str], subprocess.CompletedProcess[str]]:
    """Each lock on each Python, side by side: most of it is waiting for the index."""
    cases = [(lock, python) for lock in LOCKS for python in PYTHONS]
    with ThreadPoolExecutor(6) as pool:
        results = pool.map(lambda case: _resolve(ROOT / f"requirements/{case[0]}.lock", case[1], index), cases)
        return dict(zip(cases, results, strict=True))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_resolves_from_the_package_index_alone(
    lock: str, python: str, resolved: dict[tuple[str, str], subprocess.CompletedProcess[str]]
) -> None:
    result = resolved[lock, python]
    assert result.returncode == 0, result.stderr
    assert "torch==2.13.0+" not in result.stdout, "a local build was at hand: this machine's settings leaked in"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_development_lock_leaves_nothing_open_but_torch_s_own_cuda_libraries(
    python: str, resolved: dict[tuple[str, str], subprocess.CompletedProcess[str]]
) -> None:
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements/dev.lock").read_text(), re.MULTILINE)
    needed = re.findall(r"^([\w.-]+)==", resolved["dev", python].stdout, re.MULTILINE)
    assert not [name for name in locked if re.match("cuda-|nvidia-", name)], "a CPU build would install them all"
    assert not [name for name in needed if name not in locked and not re.match("cuda-|nvidia-", name)]


def test_a_pin_that_only_a_local_build_allows_is_found(index: dict[str, str], tmp_path: Path) -> None:
    lock = tmp_path / "dev.lock"
    text, count = re.subn(r"^triton==\S+", "triton==3.9.0", (ROOT / "requirements/dev.lock").read_text(), flags=re.M)
    assert count == 1
    lock.write_text(text)
    result = _resolve(lock, "3.11", index)
    assert result.returncode != 0
    assert "triton" in result.stderr


def test_the_tried_pythons_are_those_that_the_project_supports() -> None:
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert supported == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].removeprefix('3.')) + 1}"
