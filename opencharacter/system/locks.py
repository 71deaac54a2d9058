"""Locks between the processes of one machine."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2


class Cancelled(Exception):
    """The caller of a blocking wait in another thread has gone away."""


@contextmanager
def file_lock(path: Path, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file, made if absent; it ends with the process at the latest.

    Raises `Cancelled` if `cancelled` is set while waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = cancelled or threading.Event()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            if waiting.wait(_POLL_S):
                raise Cancelled
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
