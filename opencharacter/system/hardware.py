"""The GPUs and CPU cores that a process may use."""

import functools
import math
import os
import subprocess
import sys
from pathlib import Path

from opencharacter.errors import OpenCharacterError

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


GPUS_VARIABLE = "OPENCHARACTER_GPUS"
"""Environment variable with the number of GPUs that the pod requests."""


@functools.cache
def visible_gpus() -> int:
    """CUDA devices that the installed torch can use, counted in a separate process so that this one holds none.

    Raises `OpenCharacterError` if the pod requests another number: slow work without them would go unnoticed.
    """
    usable = _count_gpus()
    requested = os.environ.get(GPUS_VARIABLE)
    if requested is not None and int(requested) != usable:
        raise OpenCharacterError(
            f"the pod requests {requested} GPUs, but {usable} can be used",
            hint="check that the node's driver supports the image's CUDA version",
        )
    return usable


def _count_gpus() -> int:
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def usable_cores() -> list[int]:
    """Numbers of the CPU cores that this process may run on, no more than the container's CPU limit allows."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_QUOTA.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return cores
    return cores if quota == "max" else cores[: max(1, math.ceil(int(quota) / int(period)))]
