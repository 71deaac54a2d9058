"""Print the lines of a lock file that are missing in this environment. Usage: `missing.py LOCK cuda|cpu`.

A base image that holds packages (vLLM's) keeps its own versions of them. The flavour `cpu` leaves out the libraries of
CUDA and what works only beside them.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

_CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton\b|torchvision\b|torchaudio\b|torchcodec\b)")


def main(lock: Path, flavour: str) -> None:
    """Print the lines."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if flavour == "cpu" and _CUDA_ONLY.match(line):
            continue
        try:
            importlib.metadata.distribution(line.split("==")[0])
        except importlib.metadata.PackageNotFoundError:
            print(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
