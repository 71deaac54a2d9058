"""What a server may use of this machine."""

import functools
import math
import os
import subprocess
import sys
from pathlib import Path

from opencharacter.errors import OpenCharacterError

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


GPUS_VARIABLE = "OPENCHARACTER_GPUS"
"""Environment variable that says how many GPUs the pod has asked for."""


@functools.cache
def visible_gpus() -> int:
    """CUDA devices that the installed torch can use; asked in a process of its own, so that none is held here.

    Raises `OpenCharacterError` if the pod has asked for another number: working on slowly, without them, helps nobody.
    """
    found = _count_gpus()
    wanted = os.environ.get(GPUS_VARIABLE)
    if wanted is not None and int(wanted) != found:
        raise OpenCharacterError(
            f"the pod has asked for {wanted} GPUs, but {found} can be used",
            hint="do the node's driver and the image's CUDA version go together?",
        )
    return found


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
