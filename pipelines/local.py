"""Running the pipeline on this machine: the DAG of the cluster, through `kfp.local`, with its services beside it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opencharacter.components.runtime import FAILURE_VARIABLE
from opencharacter.config.run import RunConfig
from opencharacter.engines import stop_servers
from opencharacter.engines.shared_servers import OWNER_VARIABLE, SERVERS_VARIABLE
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.containers import check_images, remove_containers
from opencharacter.planning.deciding import require_deciding
from opencharacter.planning.models import require_whole_models
from opencharacter.registry import check_registry, local_server
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.system.locks import Locked, file_lock
from opencharacter.tracking import URI_VARIABLE

SERVERS_FOLDER = "servers"
"""Where a run's shared model servers are recorded, below its working folder."""


def run_local(
    config: RunConfig,
    workdir: Path,
    *,
    workspace: str | None = None,
    on_line: Callable[[str], None],
    containers: bool = False,
) -> Artifact:
    """Run all stages in `workdir` and return the reference of the report, whose stats hold all the others.

    Each step is a subprocess, or with `containers` a container of its image (see `pipelines.containers`). An MLflow
    server is started unless MLFLOW_TRACKING_URI names one; model servers are started by the first step that needs one,
    shared by the later ones and stopped at the end (containers share none). Every line of output goes to
    `logs/pipeline.log` and to `on_line`. Data lie in `workdir` too, unless `workspace` is another folder or
    `s3://BUCKET/PREFIX`. Raises the failed step's error, and before the first step that of a model that is not whole
    and of a registry that the run could not use at its end.
    """
    if workspace:
        if containers and not workspace.startswith(OBJECT_SCHEME):
            raise UserError(f"--workspace {workspace}: containers see no other folder than --workdir, and s3://")
        Workspace(workspace).check()
    require_whole_models(config, here=not containers)
    require_deciding(config)
    if containers:
        check_images()
    with local_services(workdir):
        return run_pipeline(config, workdir.resolve(), workspace=workspace, on_line=on_line, containers=containers)


@contextlib.contextmanager
def local_services(workdir: Path) -> Iterator[None]:
    """The working folder, held for this process, with a tracking server and a place for shared model servers."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be used as the working folder: {error.strerror}") from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(_exclusive(workdir))
        servers = workdir / SERVERS_FOLDER
        servers.mkdir(exist_ok=True)
        stack.callback(stop_servers, servers)
        variables = {SERVERS_VARIABLE: str(servers), OWNER_VARIABLE: str(os.getpid())}
        # A proxy of the user's must not stand between the servers of this machine.
        variables["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
        if URI_VARIABLE not in os.environ:
            variables[URI_VARIABLE] = stack.enter_context(local_server(workdir / "mlflow"))
        stack.enter_context(_environment(variables))
        yield


def run_pipeline(
    config: RunConfig,
    workdir: Path,
    *,
    workspace: str | None = None,
    on_line: Callable[[str], None],
    containers: bool = False,
) -> Artifact:
    """Run the pipeline's stages, within `local_services`; see `run_local`."""
    check_registry(config.registry)
    logs, failure = workdir / "logs", workdir / "logs" / "failure.json"
    logs.mkdir(exist_ok=True)
    failure.unlink(missing_ok=True)
    request = logs / "run.json"
    request.write_text(config.model_dump_json(indent=2), encoding="utf-8")
    result = logs / "result.json"
    result.unlink(missing_ok=True)
    # A process of its own, since kfp.local prints through patched globals and steps must not outlive an interrupt.
    command = [sys.executable, "-m", "opencharacter.pipelines.local_worker", str(request), str(workdir), str(result)]
    command.append(workspace or str(workdir / "workspace"))
    command += ["--containers"] if containers else []
    with (
        (logs / "pipeline.log").open("a", encoding="utf-8", buffering=1) as log,
        _environment({FAILURE_VARIABLE: str(failure)}),
    ):
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {config.name}\n")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            code = _follow(process, lambda line: (log.write(line + "\n"), on_line(line)))  # type: ignore[func-returns-value]
        finally:
            if containers:
                remove_containers(workdir)
    if code == 0:
        return Artifact.model_validate_json(result.read_text(encoding="utf-8"))
    raise _failure(failure, logs / "pipeline.log")


def _follow(process: subprocess.Popen[str], on_line: Callable[[str], Any]) -> int:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()
    except BaseException:
        # Steps finish their journal on SIGINT; whatever is left after that is ended.
        _signal_group(process, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        _signal_group(process, signal.SIGKILL)
        process.wait()
        raise


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _failure(report: Path, log: Path) -> OpenCharacterError:
    if not report.exists():
        return OpenCharacterError("the pipeline failed", hint=f"see the end of {log}")
    failure = json.loads(report.read_text(encoding="utf-8"))
    kind = UserError if failure["exit_code"] == UserError.exit_code else OpenCharacterError
    return kind(f"step '{failure['step']}': {failure['message']}", hint=failure["hint"])


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _exclusive(workdir: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(file_lock(workdir / ".lock", wait=False))
        except Locked as error:
            raise UserError(
                f"{workdir} is in use by another run", hint="wait for it, or give another --workdir"
            ) from error
        yield
