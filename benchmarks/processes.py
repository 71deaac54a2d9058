"""Child processes that end with the block they belong to, and with this process however it ends."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
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
) -> Iterator["subprocess.Popen[str]"]:
    """A command on these processor cores; it is killed at the end of the block if it still runs.

    Its output is added to `log`; without one, standard output is a pipe.
    """

    def prepare() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    output: Any = log.open("ab") if log else subprocess.PIPE
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output if log else None,
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
        if log:
            output.close()
        elif process.stdout:
            process.stdout.close()


def raise_open_files(count: int) -> None:
    """Let children open so many files and connections, or as many as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as an error does, so that children are ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
