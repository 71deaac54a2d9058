"""Programs that the acceptance suite runs as a user would: opencharacter, helm, kubectl."""

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.acceptance.progress import say

_TAIL_LINES = 40
_FORWARD_S = 30.0


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both outputs."""
        return "\n".join(text for text in (self.out.strip(), self.err.strip()) if text)

    def expect(self, code: int = 0) -> "Ended":
        """Itself; `AssertionError` with the end of what it said, if it ended otherwise."""
        if self.code != code:
            lines = self.said.splitlines() or ["it said nothing"]
            tail = "\n".join(lines[-_TAIL_LINES:])
            raise AssertionError(
                f"exit code {self.code} in place of {code}: {lines[-1].strip()}\n$ {self.command}\n{tail}"
            )
        return self


def run_program(*words: str, seconds: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Run to the end. `environment` is added to this process's. Raises `AssertionError` after `seconds`."""
    command = shlex.join(words)
    say(f"$ {command}")
    try:
        done = subprocess.run(
            words,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        said = [part.decode("utf-8", "replace") for part in (error.stdout, error.stderr) if isinstance(part, bytes)]
        tail = "\n".join("\n".join(said).splitlines()[-_TAIL_LINES:])
        raise AssertionError(f"not over after {seconds:.0f} s: {command}\n{tail}") from error
    return Ended(command, done.returncode, done.stdout, done.stderr)


def opencharacter_program() -> str:
    """The command line of the environment that runs the tests."""
    return str(Path(sys.executable).with_name("opencharacter"))


@contextmanager
def port_forward(namespace: str, target: str) -> Iterator[str]:
    """`127.0.0.1:PORT`, which leads to `svc/NAME:PORT` (or `pod/NAME:PORT`) and is set up again when it breaks."""
    name, _, port = target.rpartition(":")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = probe.getsockname()[1]
    words = ["kubectl", "port-forward", "--namespace", namespace, name, f"{local}:{port}", "--address", "127.0.0.1"]
    over = threading.Event()
    said: list[str] = []
    running: list[subprocess.Popen[str]] = []

    def keep() -> None:
        while not over.is_set():
            # In a session of its own: Ctrl-C is for this process, which needs the port to take things away.
            with subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
            ) as process:
                running[:] = [process]
                assert process.stderr is not None
                said[:] = [*said, *process.stderr.read().splitlines()][-5:]
            over.wait(1)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        _await_port(local, f"{shlex.join(words)}", said)
        yield f"127.0.0.1:{local}"
    finally:
        over.set()
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        keeper.join(10)


def _await_port(port: int, command: str, said: list[str]) -> None:
    deadline = time.monotonic() + _FORWARD_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError(f"no connection after {_FORWARD_S:.0f} s: {command}: {' '.join(said) or 'it said nothing'}")
