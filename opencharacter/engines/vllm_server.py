"""A vLLM server for weights on this machine, as a child process on the loopback interface."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.system import supervisor
from opencharacter.system.hardware import usable_cores, visible_gpus
from opencharacter.system.locks import Cancelled

READY_TIMEOUT_S = 1800.0
"""Seconds that a start may take; large weights load for many minutes."""

SHARED_MEMORY = 241 * 2**20
"""Bytes of /dev/shm that vLLM 0.32 needs free where it starts workers of its own: on a CPU, and where one copy of a
model takes several GPUs. Its message queues hold ten blocks of 16 MiB and ten of 24 MiB; it checks them one by one."""

_SHARED_MEMORY_FOLDER = Path("/dev/shm")
_POLL_S = 0.25
_HEALTH_TIMEOUT_S = 30.0
_LOG_LINES = 25
_CPU_KV_CACHE_GIB = "1"
_FINISHED = re.compile(r"^vllm:request_success_total\{[^}]*\} (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class VllmServer:
    """A server that answers."""

    base_url: str
    """Ends in `/v1`."""
    pid: int
    """Of the process that supervises it; SIGTERM to it ends the server."""
    log: Path


@contextmanager
def serve_vllm(
    weights: Path,
    model_name: str,
    *,
    max_model_len: int | None = None,
    tensor_parallel: int = 1,
    port: int | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
    cancelled: threading.Event | None = None,
) -> Iterator[VllmServer]:
    """Serve the model folder `weights` under `model_name` for the length of the block.

    The server listens on 127.0.0.1 (a free port unless `port` is given) and ends with this process at the latest.
    `max_model_len` is in tokens; none: the model's own limit. `tensor_parallel` GPUs hold one copy of the model; the
    other GPUs hold further copies. `cancelled` lets another thread end the wait for the start. Raises `UserError` if
    the copies don't fill the GPUs, `OpenCharacterError` with the end of the log if the server does not start.
    """
    descriptor, name = tempfile.mkstemp(prefix="opencharacter-vllm-", suffix=".log")
    os.close(descriptor)
    log = Path(name)
    port = port or free_port()
    command = vllm_command(weights, model_name, max_model_len=max_model_len, tensor_parallel=tensor_parallel, port=port)
    process = start_supervised(command, owner_pid=os.getpid(), log=log)
    try:
        wait_until_ready(process, port, log, ready_timeout_s, cancelled)
        yield VllmServer(f"http://127.0.0.1:{port}/v1", process.pid, log)
    finally:
        end_supervised(process)
    log.unlink(missing_ok=True)


def vllm_command(
    weights: Path, model_name: str, *, max_model_len: int | None, tensor_parallel: int = 1, port: int
) -> list[str]:
    """The command line of vLLM's OpenAI server on this machine's GPUs, or on its CPU.

    Raises `UserError` if the copies don't fill the GPUs, or /dev/shm is too small for vLLM's processes.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(weights), "--served-model-name", model_name, "--load-format", "safetensors"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    if max_model_len is not None:
        command += ["--max-model-len", str(max_model_len)]
    gpus = visible_gpus()
    if gpus == 0:
        # A prompt that is prefilled in parts makes vLLM rewind the request's seeded generator, which a CPU's cannot.
        command += ["--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"]
    elif gpus % tensor_parallel:
        raise UserError(
            f"tensor_parallel of model '{model_name}' is {tensor_parallel}, but there are {gpus} GPUs; "
            "expected a number that divides them"
        )
    elif gpus > 1:
        copies = gpus // tensor_parallel
        command += ["--tensor-parallel-size", str(tensor_parallel), "--data-parallel-size", str(copies)]
    if gpus == 0 or tensor_parallel > 1:
        _require_shared_memory()
    return command


def _require_shared_memory() -> None:
    try:
        free = shutil.disk_usage(_SHARED_MEMORY_FOLDER).free
    except FileNotFoundError:
        return
    if free < SHARED_MEMORY:
        raise UserError(
            f"{_SHARED_MEMORY_FOLDER} has {free >> 20} MiB free; vLLM needs {SHARED_MEMORY >> 20} MiB here",
            hint="in a cluster file: steps.STEP.shm=1Gi; with Docker: --shm-size=1g",
        )


def start_supervised(command: list[str], *, owner_pid: int, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server that ends with the process `owner_pid`; its output goes to `log`."""
    settings = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if visible_gpus() == 0:
        settings["VLLM_CPU_KVCACHE_SPACE"] = _CPU_KV_CACHE_GIB
        settings["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, usable_cores()))
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, str(owner_pid), *command],
            env=settings | os.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_until_ready(
    process: "subprocess.Popen[bytes]",
    port: int,
    log: Path,
    timeout_s: float,
    cancelled: threading.Event | None = None,
) -> None:
    """Return once the server answers; raise `OpenCharacterError` if it ends or takes too long, `Cancelled` if told."""
    waiting = cancelled or threading.Event()
    deadline = time.monotonic() + timeout_s
    while not is_healthy(f"http://127.0.0.1:{port}"):
        if process.poll() is not None:
            raise OpenCharacterError(f"vLLM did not start; the end of its log:\n{_tail(log)}", hint=f"whole log: {log}")
        if time.monotonic() > deadline:
            raise OpenCharacterError(
                f"vLLM was not ready after {timeout_s:.0f} s; the end of its log:\n{_tail(log)}",
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
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(root_url: str) -> bool:
    """Whether a server answers `GET /health` with success."""
    import httpx

    try:
        return httpx.get(f"{root_url}/health", timeout=_HEALTH_TIMEOUT_S, trust_env=False).is_success
    except httpx.TransportError:
        return False


def server_request_count(url: str) -> int:
    """Requests that a vLLM server has finished, from its metrics. `url` may end in `/v1`.

    Raises `OpenCharacterError` if it does not answer.
    """
    import httpx

    metrics = url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        text = httpx.get(metrics, timeout=10, trust_env=False).raise_for_status().text
    except httpx.HTTPError as error:
        raise OpenCharacterError(f"{metrics} cannot be read: {error}") from error
    return sum(int(float(value)) for value in _FINISHED.findall(text))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
