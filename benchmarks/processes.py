"""Child processes that end with the block they belong to, and with this process however it ends."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


@contextmanager
def running(
    command: list[str],
    *,
    cores: Collection[int],
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    errors: Path | None = None,
) -> Iterator["subprocess.Popen[str]"]:
    """A command on these processor cores; it is killed at the end of the block if it still runs.

    Its output is added to `log`; without one, standard output is a pipe, and what it reports is added to `errors`.
    """

    def prepare() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    file: Any = path.open("ab") if (path := log or errors) else None
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=file if log else subprocess.PIPE,
        stderr=file,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        # What it started belongs to its group, and may live on after it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (file, process.stdout):
            if stream:
                stream.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and those that it started, as far as they run."""
    # The kernel's number of another process's clock, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime((~member << 3) | 2) for member in _with_children(pid))


def memory_mb(pid: int) -> float:
    """Memory of a process and those that it started; what several share counts once."""
    kilobytes = 0
    for member in _with_children(pid):
        rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        kilobytes += int(re.search(r"^Pss: +(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return kilobytes / 1024


def open_files(pid: int) -> int:
    """Files and connections of a process and those that it started."""
    return sum(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in _with_children(pid))


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _with_children(int(child))


def raise_open_files(count: int) -> None:
    """Let children open so many files and connections, or as many as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as an error does, so that children are ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
