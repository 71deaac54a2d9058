"""The chart as `make chart-package` makes it for a registry."""

import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from support.helm import ROOT, VALUES_FILES, helm


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = ["make", "-o", "install", "chart-package", f"DIST={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.iterdir()
    return path


def test_it_carries_the_licence_and_every_values_file(package: Path) -> None:
    with tarfile.open(package) as archive:
        names = {name.removeprefix("opencharacter/") for name in archive.getnames()}
    assert {"LICENSE", "NOTICE", "README.md", "values.schema.json", *VALUES_FILES} <= names


def test_it_renders_like_the_folder(package: Path) -> None:
    rendered = [
        helm("template", "opencharacter", str(chart), "--namespace", "kubeflow", "--set", "promoter.enabled=false")
        for chart in (package, ROOT / "charts" / "opencharacter")
    ]
    assert rendered[0].returncode == 0, rendered[0].stderr
    assert rendered[0].stdout == rendered[1].stdout


def test_its_icon_is_in_the_repository() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "opencharacter" / "Chart.yaml").read_text(encoding="utf-8"))
    _, _, path = chart["icon"].partition("/main/")
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("address", ["", "ghcr.io/opencharacter/charts"])
def test_it_is_pushed_to_an_oci_address_only(address: str, tmp_path: Path) -> None:
    command = ["make", "-o", "install", "chart-publish", f"REGISTRY={address}", f"DIST={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected REGISTRY=oci://HOST/PATH" in done.stderr
    assert list(tmp_path.iterdir()) == []
