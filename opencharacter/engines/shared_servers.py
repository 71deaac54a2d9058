"""vLLM servers that the steps of one run share, so that each model is loaded once and only if a call needs it.

A folder (environment variable OPENCHARACTER_SERVERS) holds a record per server. The servers are detached from the
steps, which come and go, and end with the process whose id is in OPENCHARACTER_OWNER_PID.
"""

import os
import signal
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from opencharacter.engines.vllm_server import (
    READY_TIMEOUT_S,
    VllmServer,
    replicas,
    vllm_command,
    vllm_environment,
)
from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.system import supervisor
from opencharacter.system.locks import file_lock
from opencharacter.system.processes import (
    end_supervised,
    free_port,
    is_healthy,
    start_supervised,
    wait_until_healthy,
)

SERVERS_VARIABLE = "OPENCHARACTER_SERVERS"
OWNER_VARIABLE = "OPENCHARACTER_OWNER_PID"

_POLL_S = 0.1


class _Record(BaseModel):
    pid: int
    port: int
    log: Path


def shared_server(
    folder: Path,
    weights: Path,
    model_name: str,
    *,
    owner_pid: int,
    max_model_len: int | None = None,
    tensor_parallel: int = 1,
    cancelled: threading.Event | None = None,
) -> VllmServer:
    """The server for these weights, name and context length: the one recorded in `folder`, or a new one.

    Only one process at a time starts a server of a folder, since a start takes the whole machine. Raises as
    `serve_vllm` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest([str(weights.resolve()), model_name, max_model_len, tensor_parallel])[:16]}.json"
    with file_lock(folder / "start.lock", cancelled=cancelled):
        record = _read(path)
        if record is not None and not is_healthy(f"http://127.0.0.1:{record.port}"):
            _stop(record.pid)
            record = None
        if record is None:
            port, log = free_port(), path.with_suffix(".log")
            command = vllm_command(
                weights, model_name, max_model_len=max_model_len, tensor_parallel=tensor_parallel, port=port
            )
            process = start_supervised(command, owner_pid=owner_pid, log=log, environment=vllm_environment())
            try:
                wait_until_healthy(
                    process,
                    f"http://127.0.0.1:{port}",
                    log,
                    name="vLLM",
                    timeout_s=READY_TIMEOUT_S,
                    cancelled=cancelled,
                )
            except BaseException:
                end_supervised(process)
                raise
            record = _Record(pid=process.pid, port=port, log=log)
            path.write_text(record.model_dump_json(), encoding="utf-8")
    return VllmServer(f"http://127.0.0.1:{record.port}/v1", record.pid, record.log, replicas(tensor_parallel))


def shared_owner() -> int:
    """The process that the shared servers of this run end with."""
    value = os.environ.get(OWNER_VARIABLE, "")
    if not value.isdecimal():
        raise OpenCharacterError(
            f"${SERVERS_VARIABLE} is set, so ${OWNER_VARIABLE} must hold a process id, not '{value}'"
        )
    return int(value)


def stop_servers(folder: Path) -> None:
    """End every server that `folder` records, and wait until they have ended."""
    with file_lock(folder / "start.lock"):
        for path in folder.glob("*.json"):
            record = _read(path)
            path.unlink()
            if record is not None:
                _stop(record.pid)


def _read(path: Path) -> _Record | None:
    """The record of a server whose supervisor still lives."""
    try:
        record = _Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if _is_supervisor(record.pid) else None


def _is_supervisor(pid: int) -> bool:
    # A process id may have been given to another process since.
    try:
        return supervisor.__file__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + supervisor.GRACE_S + 5
    while _is_supervisor(pid):
        if time.monotonic() > deadline:
            raise OpenCharacterError(f"the model server with process id {pid} does not end")
        time.sleep(_POLL_S)
