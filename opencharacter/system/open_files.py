"""Room for many connections at once: each one is an open file and takes a local port."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencharacter.errors import UserError

_OTHER_FILES = 128
"""Files that a process has open besides: libraries' own, stores, logs, pipes."""
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_lock = threading.Lock()
_promised = 0


@contextmanager
def room_for_connections(count: int, what: str) -> Iterator[None]:
    """Let this process open `count` connections to one server inside the block, beside those promised to others.

    Raises the soft limit of open files as far as the hard limit lets it. Raises `UserError` where that is too little;
    `what` is the setting that asks for so many.
    """
    global _promised
    ports = _local_ports()
    if ports is not None and count > ports:
        raise UserError(
            f"{what} is {count}; this machine can have {ports} connections to one server",
            hint="lower it, or widen net.ipv4.ip_local_port_range",
        )
    with _lock:
        _raise_limit(_promised + count + _OTHER_FILES, f"{what} is {count}")
        _promised += count
    try:
        yield
    finally:
        with _lock:
            _promised -= count


def _raise_limit(needed: int, what: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{what}, for which this process needs {needed} open files; its hard limit is {hard}",
            hint="lower it, or raise the limit (ulimit -Hn; in Docker --ulimit nofile=N)",
        ) from error


def _local_ports() -> int | None:
    """Connections that this machine can have to one address and port, where the kernel tells."""
    try:
        first, last = map(int, _PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return last - first + 1
