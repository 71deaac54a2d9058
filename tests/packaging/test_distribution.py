"""What is in the wheel: every package and every file that the library reads at run time."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from opencharacter.library import fingerprint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # it may hold modules that are gone
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(target), "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = target.glob("*.whl")
    return path


def test_the_wheel_carries_its_licences_and_says_where_the_project_lives(wheel_file: Path) -> None:
    archive = zipfile.ZipFile(wheel_file)
    [folder] = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    for name in ("LICENSE", "NOTICE"):
        assert archive.read(f"{folder}/licenses/{name}") == (ROOT / name).read_bytes()
    metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    labels = {line.split(",")[0] for line in metadata.get_all("Project-URL", [])}
    assert {"Repository", "Documentation", "Issues", "Changelog"} <= labels


def test_the_wheel_holds_the_marker_of_a_typed_package(wheel: set[str]) -> None:
    assert "opencharacter/py.typed" in wheel


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel_file).namelist())


def test_an_image_s_library_has_the_fingerprint_of_its_checkout(wheel_file: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel_file).extractall(tmp_path)
    script = "from opencharacter import library; print(library.__file__, library.fingerprint())"
    command = [sys.executable, "-c", script]
    told = subprocess.check_output(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True)
    assert told.split() == [str(tmp_path / "opencharacter" / "library.py"), fingerprint()]


def test_the_wheel_holds_all_modules(wheel: set[str]) -> None:
    tops = [
        ROOT / name for name in ("opencharacter", "clusters", "components", "pipelines", "prompts", "recipes", "suites")
    ]
    modules = {path.relative_to(ROOT).as_posix() for top in tops for path in top.rglob("*.py")}
    inside = {name if name.startswith("opencharacter/") else f"opencharacter/{name}" for name in modules}
    assert len(inside) > 200
    assert inside <= wheel


def test_the_wheel_holds_all_data_files(wheel: set[str]) -> None:
    expected = {f"opencharacter/prompts/{path.name}" for path in (ROOT / "prompts").glob("*.md")}
    expected |= {f"opencharacter/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    expected |= {f"opencharacter/clusters/{path.name}" for path in (ROOT / "clusters").glob("*.yaml")}
    expected |= {"opencharacter/planning/prices.yaml"}
    expected |= {f"opencharacter/suites/{path.relative_to(ROOT / 'suites')}" for path in (ROOT / "suites").glob("*/*")}
    for folder in ("opencharacter/data", "opencharacter/reporting/templates"):
        expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    expected = {name for name in expected if "__pycache__" not in name}
    assert len(expected) > 15
    assert expected <= wheel
