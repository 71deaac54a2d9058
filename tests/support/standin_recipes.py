"""Dockerfiles of the stand-ins that are more than Debian."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The recipes' build context."""

VLLM_BASE_LACKS = ("kfp", "datasets", "json-repair", "zstandard", "boto3", "botocore", "s3transfer")
"""What a step needs and the stand-in `vllm` does not hold."""
VLLM_BASE_TQDM = "4.67.0"
"""The stand-in's own version of a package, which is not the locked one."""

_READ = ("docker/missing.py", "requirements/synthesis-cpu.lock")
_UV = (
    "/tmp/uv/bin/uv pip install --python /usr/bin/python3 --break-system-packages --no-deps --no-cache"
    " --index-strategy unsafe-best-match"
)
_CUDA = "/usr/local/cuda"
_COMPILER = ["nvidia-cuda-nvcc==13.0.88", "nvidia-cuda-crt==13.0.88", "nvidia-nvvm==13.0.88"]
_TEMPLATES = ["nvidia-cuda-cccl==13.0.85"]
_HEADERS = ("cuda-runtime", "cuda-nvrtc", "cublas", "cusparse", "cusolver", "curand")


def context() -> dict[str, str]:
    """What the recipes read of this source, by path."""
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in _READ}


def recipe(kind: str, bare: str, wheels: list[str]) -> str:
    """The Dockerfile of the kind `python`, `vllm` or `cuda`, from the image `bare`, in which `wheels` lie."""
    python = (
        f"FROM {bare}\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv"
        " && rm -rf /var/lib/apt/lists/*\n"
    )
    return python + {"python": "", "vllm": _vllm(), "cuda": _cuda(wheels)}[kind]


def _vllm() -> str:
    """vLLM's CPU build in the system's Python, where the official image has it."""
    return (
        f"COPY {' '.join(_READ)} /tmp/\n"
        "RUN python3 -m venv /tmp/uv && /tmp/uv/bin/pip install --quiet uv"
        f" && {_UV} --dry-run $(grep -o '^torch==[^ ;]*' /tmp/synthesis-cpu.lock) 2>&1 | grep -q '+cpu'"
        " && libraries=cpu || libraries=cuda"
        "; python3 /tmp/missing.py /tmp/synthesis-cpu.lock $libraries"
        f" | grep -vE '^({'|'.join(VLLM_BASE_LACKS)})==' | sed 's/^tqdm==.*/tqdm=={VLLM_BASE_TQDM}/' > /tmp/wanted.txt"
        f" && {_UV} --requirement /tmp/wanted.txt && rm -rf /tmp/*\n"
    )


def _cuda(wheels: list[str]) -> str:
    """NVIDIA's compiler and headers from the package index, and no CPU build of torch to take for the real one."""
    lock = (ROOT / "requirements" / "training.lock").read_text(encoding="utf-8")
    headers = re.findall(rf"^nvidia-(?:{'|'.join(_HEADERS)})==[\d.]+", lock, re.MULTILINE)
    wanted = " ".join(_COMPILER + _TEMPLATES + headers)
    return (
        f"RUN rm -f {' '.join(wheels)}\n"
        f"RUN python3 -m venv /opt/nvidia && /opt/nvidia/bin/pip install -q --no-deps --no-cache-dir {wanted}"
        f" && ln -s /opt/nvidia/lib/python3*/site-packages/nvidia/cu13 {_CUDA} && ln -s lib {_CUDA}/lib64"
        f" && cd {_CUDA}/lib && for file in *.so.*; do ln -sf $file ${{file%%.so.*}}.so; done\n"
        f"ENV CUDA_HOME={_CUDA} PATH={_CUDA}/bin:$PATH\n"
    )
