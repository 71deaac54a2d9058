"""A Docker engine of our own: state, socket and processes under one folder, started by hand, gone at the end.

The folder outlives the tests, so that images and build layers need not be made again.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from opencharacter.system.processes import start_supervised

_START_S = 90
_KEPT = "14GB"
"""Build cache beyond which the engine forgets the oldest."""


def engine_folder() -> Path:
    """Where the engine lives: `$OPENCHARACTER_CONTAINERS`, else a folder of the user's cache."""
    named = os.environ.get("OPENCHARACTER_CONTAINERS")
    return Path(named) if named else Path.home() / ".cache" / "opencharacter-containers"


@contextlib.contextmanager
def private_engine() -> Iterator[dict[str, str]]:
    """The variables with which clients reach the engine, for as long as it runs.

    Raises `RuntimeError` if it does not start. What an earlier engine of the folder left behind is cleared first.
    """
    root = engine_folder()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(root)
        run = root / "run"
        run.mkdir()
        socket = run / "docker.sock"
        log = run / "dockerd.log"
        settings = run / "daemon.json"
        settings.write_text(json.dumps({"builder": {"gc": {"enabled": True, "defaultKeepStorage": _KEPT}}}))
        command = ["dockerd", "--config-file", str(settings), "--data-root", str(root / "data")]
        command += ["--exec-root", str(run / "exec"), "--pidfile", str(run / "docker.pid")]
        command += ["--host", f"unix://{socket}"]
        # Containers have the host's network or none.
        command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        process = start_supervised(command, owner_pid=os.getpid(), log=log)
        try:
            client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
            environment = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(run), "DOCKER": client}
            _wait(process, [client, "version"], environment, log)
            yield environment
            for kind in ("container", "image"):
                command = [client, kind, "prune", "--force"]
                subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            _clear(root)


def _wait(process: "subprocess.Popen[bytes]", probe: list[str], environment: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while subprocess.run(probe, env=os.environ | environment, capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"dockerd does not answer; the end of its log:\n{tail}")
        time.sleep(0.5)


def _clear(root: Path) -> None:
    """End what still runs from this folder, unmount it, and forget its run-time state."""
    for process in _processes(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False)
    shutil.rmtree(root / "run", ignore_errors=True)


def _processes(root: Path) -> list[int]:
    """Daemons, containerd and its shims that name a folder of ours, and what runs in their containers."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            mounts = (folder / "mountinfo").read_text().partition("\n")[0]
        except OSError:
            continue
        daemon = Path(os.fsdecode(command.split(b"\0")[0])).name.startswith(("dockerd", "containerd"))
        if (daemon and os.fsencode(f"{root}/") in command) or f"{root}/data/overlay2/" in mounts:
            found.append(int(folder.name))
    return found
