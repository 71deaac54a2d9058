"""Servers on this machine as supervised processes: start them, wait until they answer, end them."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from opencharacter.errors import OpenCharacterError
from opencharacter.system import supervisor
from opencharacter.system.locks import Cancelled

_POLL_S = 0.25
_HEALTH_TIMEOUT_S = 30.0
_LOG_LINES = 25


def start_supervised(
    command: list[str], *, owner_pid: int, log: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a server that ends with the process `owner_pid`; its output is added to `log`.

    `environment` replaces this process's environment.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, str(owner_pid), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_until_healthy(
    process: "subprocess.Popen[bytes]",
    root_url: str,
    log: Path,
    *,
    name: str,
    timeout_s: float,
    cancelled: threading.Event | None = None,
) -> None:
    """Return once the server answers.

    Raises `OpenCharacterError` if it ends or takes too long, `Cancelled` if `cancelled` is set.
    """
    waiting = cancelled or threading.Event()
    deadline = time.monotonic() + timeout_s
    while not is_healthy(root_url):
        if process.poll() is not None:
            raise OpenCharacterError(
                f"{name} did not start; the end of its log:\n{tail(log)}", hint=f"whole log: {log}"
            )
        if time.monotonic() > deadline:
            raise OpenCharacterError(
                f"{name} was not ready after {timeout_s:.0f} s; the end of its log:\n{tail(log)}",
                hint=f"whole log: {log}",
            )
        if waiting.wait(_POLL_S):
            raise Cancelled


def end_supervised(process: "subprocess.Popen[bytes]") -> None:
    """End a supervised server with all its processes."""
    process.terminate()
    try:
        process.wait(supervisor.GRACE_S + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(root_url: str) -> bool:
    """Whether a server answers `GET /health` with success."""
    import httpx

    # Without TLS there is nothing to verify; reading the certificates takes longer than the request.
    verify = root_url.startswith("https:")
    try:
        return httpx.get(f"{root_url}/health", timeout=_HEALTH_TIMEOUT_S, trust_env=False, verify=verify).is_success
    except httpx.TransportError:
        return False


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
