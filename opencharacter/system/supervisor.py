"""Runs a server while its owner lives: `python supervisor.py OWNER_PID COMMAND...`. Imports the standard library only.

Ends the command's whole process group when the owner ends (however it ends), when this process gets SIGTERM, or when
the command itself ends. Linux only (pidfd, prctl).
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_PR_SET_PDEATHSIG = 1


def supervise(owner_pid: int, command: Sequence[str]) -> int:
    """Run `command` until it or its owner ends; its exit status, or 1 if it was ended from here."""
    stop_read, stop_write = os.pipe()
    os.set_blocking(stop_write, False)
    signal.set_wakeup_fd(stop_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        owner = os.pidfd_open(owner_pid)
    except ProcessLookupError:
        return 1
    child = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent)
    try:
        ended, _, _ = select.select([owner, stop_read, os.pidfd_open(child.pid)], [], [])
        return 1 if owner in ended or stop_read in ended else child.wait()
    finally:
        _end_group(child)


def _die_with_parent() -> None:
    # If this supervisor is killed, the kernel ends the command's first process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
