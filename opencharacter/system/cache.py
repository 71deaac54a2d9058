"""The folder for files that are made or fetched once per machine."""

import os
from pathlib import Path

CACHE_VARIABLE = "OPENCHARACTER_CACHE"
"""Environment variable naming the cache folder; default `~/.cache/opencharacter`."""


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, created if absent."""
    root = os.environ.get(CACHE_VARIABLE)
    path = (Path(root) if root else Path.home() / ".cache" / "opencharacter").joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
