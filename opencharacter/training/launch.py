"""Starting the worker processes with accelerate and following what they print: none is left behind."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import yaml

from opencharacter.errors import OpenCharacterError
from opencharacter.progress import Progress, progress
from opencharacter.system.hardware import usable_cores
from opencharacter.system.locks import file_lock
from opencharacter.training.job import LOG_NAME, Event, Job, Nodes, OutOfMemory, Result

_log = logging.getLogger(__name__)

_TAIL_LINES = 25


class EventReader:
    """Takes lines, wherever they come from. A context: the progress display ends with it."""

    def __init__(self, *, show: bool = True) -> None:
        """`show`: draw progress and log warnings here, not only remember."""
        self.failure: Event | None = None
        """The first failure that a process has named."""
        self._show = show
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._bar: Progress | None = None
        self._display = ExitStack()

    def __enter__(self) -> "EventReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    @property
    def tail(self) -> str:
        """The last lines that were no events."""
        return "".join(self._lines)

    def feed(self, line: str) -> bool:
        """Take a line, line feed included. Says whether it belongs into a log: whether it is not an event."""
        event = Event.parse(line)
        if event is None:
            self._lines.append(line)
            return True
        if event.kind == "failure":
            self.failure = self.failure or event
        elif self._show and event.kind == "warning":
            _log.warning(event.message)
        elif self._show:
            self._advance(event)
        return False

    def _advance(self, event: Event) -> None:
        if self._bar is None:
            self._bar = self._display.enter_context(progress("training", total=event.total_steps, done=event.step))
        # After a restart within a job, steps are done again.
        fresh = max(0, event.step - self._bar.done_before - self._bar.rows)
        self._bar.advance(rows=fresh, tokens=event.tokens)
        if event.loss is not None:
            _log.info("step %d of %d: loss %.4f", event.step, event.total_steps, event.loss)


_GRACE_S = 40
"""torchrun gives its workers 30 s to end before it kills them."""
_MEETING_S = 3600
"""How long nodes wait for each other: images are pulled and volumes attached at different speeds."""


def run_workers(job: Job, lock: int, *, relay: bool = False) -> Result | None:
    """Run a job to its end and read its result; there is none on a node that is not the first.

    `lock` is a file descriptor that the launcher inherits: a lock on it is held until the last worker has ended, also
    when this process is killed. With `relay`, the workers' output, events included, is printed for a watcher elsewhere.
    Raises the worker's own error where it named one, otherwise an `OpenCharacterError` with the end of the log. Workers
    are ended before an exception (Ctrl-C too) leaves this function.
    """
    job_file = job.folder / "job.json"
    job_file.write_text(job.model_dump_json(indent=2), encoding="utf-8")
    log_file = job.folder / LOG_NAME
    with _started(_command(job, job_file), _environment(job), lock) as child, EventReader(show=not relay) as watcher:
        assert child.stdout is not None
        with log_file.open("a", encoding="utf-8") as log:
            for line in child.stdout:
                if relay:
                    print(line, end="", flush=True)
                if watcher.feed(line):
                    log.write(line)
        code = child.wait()
    if code == 0 and job.nodes.rank > 0:
        return None
    if code == 0 and job.result.is_file():
        return Result.model_validate_json(job.result.read_text(encoding="utf-8"))
    raise _explain(watcher, code, log_file, relay=relay)


def exclusive(folder: Path) -> AbstractContextManager[int]:
    """Hold the folder's lock, waiting for another training of the same output to end. Yields the lock's descriptor."""
    return file_lock(
        folder / ".lock",
        on_wait=lambda: _log.warning("another process is training in %s; waiting for it to end", folder),
    )


def _command(job: Job, job_file: Path) -> list[str]:
    # A file of our own, so that no default configuration of the user's applies. "MULTI_GPU" is accelerate's word for
    # torchrun; with its CPU settings it starts one process, whatever number it is asked for.
    launch = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if job.config.processes > 1 else "NO",
        "num_processes": job.config.processes,
        "num_machines": job.nodes.count,
        "machine_rank": job.nodes.rank,
        "main_process_ip": job.nodes.address,
        "main_process_port": job.nodes.port,
        "rdzv_backend": "static",
        "same_network": True,
        "mixed_precision": "no",
        "use_cpu": False,
    }
    launch_file = job.folder / "accelerate.yaml"
    launch_file.write_text(yaml.safe_dump(launch), encoding="utf-8")
    module = ["-m", "opencharacter.training.worker", str(job_file)]
    threads = str(_threads(job))
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch_file)),
        *("--num_cpu_threads_per_process", threads),
        *("--rdzv_conf", f"timeout={_MEETING_S}"),
        *module,
    ]


def _environment(job: Job) -> dict[str, str]:
    return {
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads cost a training 2/3 of its speed where cores are shared
        **Nodes.without_variables(dict(os.environ)),
        "OMP_NUM_THREADS": str(_threads(job)),
        "HF_HUB_OFFLINE": "1",  # the base model is a folder by now; nothing else is to be asked of the hub
        "PYTHONUNBUFFERED": "1",
    }


def _threads(job: Job) -> int:
    return max(1, len(usable_cores()) // (job.config.processes // job.nodes.count))


@contextmanager
def _started(command: list[str], environment: dict[str, str], lock: int) -> Iterator["subprocess.Popen[str]"]:
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[lock],
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: "subprocess.Popen[str]") -> None:
    """End the process group: politely first, since torchrun's workers are in groups of their own and end through it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.stdout:
        child.stdout.close()


def _explain(watcher: EventReader, code: int, log_file: Path, *, relay: bool) -> OpenCharacterError:
    if watcher.failure:
        return watcher.failure.as_error()
    text = watcher.tail
    if "SIGKILL" in text or "exitcode: -9" in text or code == -signal.SIGKILL:
        # With a watcher elsewhere, this disk goes with its pod, and the watcher keeps the log.
        place = "" if relay else f"; log: {log_file}"
        return OutOfMemory(
            f"a training process was killed, most likely because memory ran out{place}",
            hint="lower max_length or per_device_batch_size, or set gradient_checkpointing or lora; then run again:"
            " training goes on from the last complete checkpoint",
        )
    if shutil.disk_usage(log_file.parent).free == 0:
        return OpenCharacterError(f"the disk of {log_file.parent} is full", hint="free some space and run again")
    place = "its log" if relay else str(log_file)
    return OpenCharacterError(f"training failed (exit code {code}); the end of {place}:\n{text.rstrip()}")
