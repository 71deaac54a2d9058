"""Running each step of a local run in its container image, through `kfp.local.DockerRunner`."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opencharacter.cluster.images import STEP_IMAGES, image_reference
from opencharacter.components.runtime import FAILURE_VARIABLE
from opencharacter.config.run import RunConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.library import LIBRARY_LABEL, fingerprint

USER = 65532
"""User and group of the images."""

WRITABLE = ("/tmp", "/var/opencharacter")
"""The images' writable mounts; the rest of their file system is read-only."""

_LABEL = "io.opencharacter.workdir"
_PASSED = (FAILURE_VARIABLE, "MLFLOW_", "AWS_", "HF_TOKEN")
"""Variables that containers get from this process: these, or all that begin so."""


def docker_client() -> Any:
    """The engine's client. Raises `UserError` where there is no engine or no client library."""
    try:
        import docker
    except ImportError as error:
        raise UserError("--containers needs the Python package docker", hint="pip install docker") from error
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise UserError(
            f"--containers needs a container engine, and none answers: {error}",
            hint="start Docker, or set DOCKER_HOST to the address of its socket",
        ) from error
    return client


def check_images() -> None:
    """Raise `UserError` if an image that a step would run in is not on this machine, or holds another library."""
    import docker

    client = docker_client()
    for name in sorted(set(STEP_IMAGES.values())):
        try:
            library = client.images.get(image_reference(name)).labels.get(LIBRARY_LABEL)
        except docker.errors.ImageNotFound as error:
            raise UserError(
                f"there is no image {image_reference(name)} on this machine", hint="build it: make images"
            ) from error
        if library and library != fingerprint():
            raise UserError(
                f"image {image_reference(name)} holds library {library}, and this is {fingerprint()}",
                hint="its steps would refuse to work; build it again: make images",
            )


def docker_runner(config: RunConfig, workdir: Path) -> Any:
    """KFP's runner of containers that are as locked down as the pods of a cluster.

    A container sees the working folder, every absolute path of the configuration (read-only) and this machine's
    network. Its user is the image's where this process is root's, else this process's.
    """
    from docker.types import Mount
    from kfp import local
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = _run_container
    user, group = (os.getuid(), os.getgid()) if os.getuid() else (USER, USER)
    if os.getuid() == 0:
        folders = [workdir / name for name in ("kfp", "logs", "workspace")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        subprocess.run(["chown", "-R", f"{USER}:{USER}", *map(str, folders)], check=True)
        os.umask(0)  # KFP makes the folders that the steps write to
    named = {environment for engine in config.engines.values() if (environment := engine.api_key_env)}
    return local.DockerRunner(
        environment={key: value for key, value in os.environ.items() if key.startswith(_PASSED) or key in named},
        mounts=[
            Mount(str(path), str(path), type="bind", read_only=path != workdir)
            for path in [workdir, *_paths(config.parameters())]
        ],
        tmpfs=dict.fromkeys(WRITABLE, f"mode=1777,uid={user},gid={group},exec"),
        user=f"{user}:{group}",
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        shm_size="1g",
        labels={_LABEL: str(workdir)},
    )


def remove_containers(workdir: Path) -> None:
    """End the containers that an interrupted run has left."""
    for container in docker_client().containers.list(all=True, filters={"label": f"{_LABEL}={workdir}"}):
        container.remove(force=True)


def _paths(value: Any) -> Iterator[Path]:
    """Absolute paths of this machine that a configuration holds, in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        yield from dict.fromkeys(path for item in value for path in _paths(item))
    elif isinstance(value, str) and value.startswith("/") and Path(value).exists():
        yield Path(value)


def _run_container(client: Any, image: str, command: list[str], volumes: Mapping[str, Any], **settings: Any) -> int:
    """Run a step and return its exit status.

    In place of KFP's own, which lets the engine remove the container as it ends and takes one that is gone before it
    could be asked for its status as a success.
    """
    import docker

    try:
        container = client.containers.run(image, command, detach=True, volumes=volumes, **settings)
    except docker.errors.DockerException as error:
        raise OpenCharacterError(f"the container of {image} did not start: {error}") from error
    try:
        for line in container.logs(stream=True):
            print(line.decode(errors="replace"), end="")
        status: int = container.wait()["StatusCode"]
        return status
    finally:
        container.remove(force=True)
