"""A real MLflow server for a run on one machine: SQLite, artifacts in a folder."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from opencharacter.engines.vllm_server import end_supervised, free_port, is_healthy
from opencharacter.errors import OpenCharacterError
from opencharacter.system import supervisor
from opencharacter.system.locks import file_lock

_RECORD = "server.json"
_START_S = 120


@contextlib.contextmanager
def local_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """The address of the MLflow server of a folder, for the length of the block.

    A healthy server that another process runs on the folder is shared, otherwise one is started on `port` (none: a
    free one) and stopped at the end; it dies with this process at the latest. Its output goes to `server.log`. Raises
    `OpenCharacterError` with the end of that log if it does not start.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with file_lock(folder / "server.lock"):
            uri = _running(folder) or stack.enter_context(_started(folder, port or free_port()))
        yield uri


@contextlib.contextmanager
def _started(folder: Path, port: int) -> Iterator[str]:
    command = [sys.executable, "-I", supervisor.__file__, str(os.getpid())]
    command += [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    # Background jobs would be eight more processes and half a minute more to start; nothing here uses them.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    record = folder / _RECORD
    try:
        _wait(process, uri, log)
        record.write_text(json.dumps({"uri": uri, "pid": process.pid}), encoding="utf-8")
        yield uri
    finally:
        record.unlink(missing_ok=True)
        end_supervised(process)


def _running(folder: Path) -> str | None:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        os.kill(record["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return record["uri"] if is_healthy(record["uri"]) else None


def _wait(process: subprocess.Popen[bytes], uri: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not is_healthy(uri):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
            raise OpenCharacterError(f"the MLflow server did not start: {tail}", hint=f"see {log}")
        time.sleep(0.2)
