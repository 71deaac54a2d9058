"""Flushing files to disk, so that they survive a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush a folder and everything in it."""
    for path in [*root.rglob("*"), root]:
        sync(path)
