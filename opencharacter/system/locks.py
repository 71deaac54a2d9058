"""Locks between the processes of one machine."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2


class Locked(Exception):
    """Another process holds the lock."""


class Cancelled(Exception):
    """The caller of a blocking wait in another thread has gone away."""


@contextmanager
def file_lock(
    path: Path,
    *,
    wait: bool = True,
    on_wait: Callable[[], None] | None = None,
    cancelled: threading.Event | None = None,
) -> Iterator[int]:
    """Hold an exclusive lock on a file, which is created if absent. The lock ends with the process at the latest.

    Args:
        path: the file.
        wait: wait while another process holds the lock.
        on_wait: called once before waiting.
        cancelled: ends the wait when set.

    Yields:
        The file's descriptor: a child process that inherits it keeps the lock until it ends, too.

    Raises:
        Locked: another process holds the lock, and `wait` is false.
        Cancelled: `cancelled` was set while waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _try_lock(descriptor):
            if not wait:
                raise Locked(path)
            if on_wait is not None:
                on_wait()
            _wait_for_lock(descriptor, cancelled)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_lock(descriptor: int, cancelled: threading.Event | None) -> None:
    if cancelled is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while not _try_lock(descriptor):
        if cancelled.wait(_POLL_S):
            raise Cancelled
