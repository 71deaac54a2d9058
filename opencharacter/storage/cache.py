"""The folder for what is made or fetched once per machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE_VARIABLE = "OPENCHARACTER_CACHE"
"""Environment variable naming the cache folder; default `~/.cache/opencharacter`."""


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, made if absent."""
    root = os.environ.get(CACHE_VARIABLE)
    path = (Path(root) if root else Path.home() / ".cache" / "opencharacter").joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, so that two processes of this machine do not fetch the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
