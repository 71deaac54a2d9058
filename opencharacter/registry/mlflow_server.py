"""A real MLflow server for a run on one machine: SQLite, artifacts in a folder."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from opencharacter.system.locks import file_lock
from opencharacter.system.processes import (
    end_supervised,
    free_port,
    is_healthy,
    start_supervised,
    wait_until_healthy,
)

_RECORD = "server.json"
_START_S = 300
"""A start takes 10 seconds, and over 100 where other work keeps the cores busy."""


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
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    # Background jobs would be eight more processes and half a minute more to start; nothing here uses them.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = folder / "server.log"
    log.unlink(missing_ok=True)
    process = start_supervised(command, owner_pid=os.getpid(), log=log, environment=environment)
    uri = f"http://127.0.0.1:{port}"
    record = folder / _RECORD
    try:
        wait_until_healthy(process, uri, log, name="the MLflow server", timeout_s=_START_S)
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
