"""Pushing to a real registry on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from support.helm import helm
from support.locked_down import docker, run_in

from opencharacter import __version__
from opencharacter.cluster.spec import Images
from opencharacter.library import fingerprint
from opencharacter.preflight.images import check_images
from opencharacter.system.processes import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of an empty registry."""
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
        "http": {"addr": address},
    }
    (tmp_path / "registry.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with (tmp_path / "registry.log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(f"http://{address}/v2/"):
            assert process.poll() is None, (tmp_path / "registry.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_the_chart_is_published_as_an_oci_artifact(registry: str, tmp_path: Path) -> None:
    charts = f"oci://{registry}/charts"
    command = ["make", "-o", "install", "chart-publish", f"REGISTRY={charts}", f"DIST={tmp_path}"]
    subprocess.run([*command, "HELM_FLAGS=--plain-http"], cwd=ROOT, check=True)
    told = helm("show", "chart", f"{charts}/opencharacter", "--version", __version__, "--plain-http")
    assert told.returncode == 0, told.stderr
    assert yaml.safe_load(told.stdout)["appVersion"] == __version__


def test_a_push_pins_images_by_digest(images: dict[str, str], registry: str, tmp_path: Path) -> None:
    written = tmp_path / "images.yaml"
    command = [sys.executable, "docker/build.py", "serving", "--push", str(written), "--", "--network", "host"]
    variables = {"REGISTRY": f"{registry}/oc", "TAG": "9", "FLAVOUR": "cpu", "VLLM_IN_BASE": "0"}
    subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=True)
    pinned = Images.model_validate(yaml.safe_load(written.read_text(encoding="utf-8"))["images"]).reference("serving")
    assert pinned.startswith(f"{registry}/oc/serving@sha256:")
    asked = [pinned, f"{registry}/oc/serving:9", f"{registry}/oc/serving:10"]
    assert [found.state for found in check_images(asked)] == ["ok", "ok", "missing"]
    assert [found.state for found in check_images(asked, library=fingerprint())] == ["ok", "ok", "missing"]
    assert check_images([pinned], library="0.1.0+00000000")[0].state == "differs"
    docker("image", "rm", f"{registry}/oc/serving:9")
    docker("pull", pinned)
    assert "predictor_host" in run_in(pinned, "--help")
