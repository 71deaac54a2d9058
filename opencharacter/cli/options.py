"""Options that several commands share."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from opencharacter.cluster.spec import Cluster
    from opencharacter.storage.workspace import Workspace

RunSource = Annotated[
    str | None,
    typer.Argument(metavar="NAME_OR_FILE", help="A shipped recipe, or a YAML file.", show_default=False),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration (YAML).")]
Preset = Annotated[
    str | None, typer.Option("--preset", "-p", help="A shipped recipe: demo, a1, a2, a3, a4, a5 or final.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key, such as sft.epochs=2. Repeatable."),
]
ClusterSource = Annotated[
    str | None,
    typer.Option("--cluster", metavar="NAME_OR_FILE", help="The cluster: cpu, node8, pool, or a YAML file."),
]
ClusterOverrides = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster-set",
        metavar="KEY=VALUE",
        help="Override a key of the cluster, such as images.registry=registry.example.com/oc. Repeatable.",
    ),
]


def _override_prompts(folder: Path | None) -> Path | None:
    if folder is not None:
        from opencharacter.templates import override_prompts

        override_prompts(folder)
    return folder


Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        envvar="OPENCHARACTER_PROMPTS",
        callback=_override_prompts,
        help="Folder whose files replace the prompt templates of the same name.",
    ),
]
WorkspaceRoot = Annotated[
    str | None,
    typer.Option("--workspace", help="Where data go: a folder or s3://BUCKET/PREFIX; by default in WORKDIR."),
]


def _refuse_address(folder: Path) -> Path:
    # Path has made one slash of two.
    if folder.parts and folder.parts[0].endswith(":"):
        raise typer.BadParameter(
            f"{folder}: expected a folder of this machine; an object store is given as --workspace"
        )
    return folder


Workdir = Annotated[
    Path,
    typer.Option("--workdir", "-w", callback=_refuse_address, help="Working folder: data, models, reports, logs."),
]
DEFAULT_WORKDIR = Path("work")
"""Of every command, so that one finds what another made."""


def named_run(source: str | None, config: Path | None, preset: str | None) -> tuple[Path | None, str | None]:
    """The file or the recipe that a command names, by position or by option."""
    if source is None:
        return config, preset
    if config or preset:
        raise typer.BadParameter("give either NAME_OR_FILE, or one of --config and --preset")
    is_file = "/" in source or source.endswith((".yaml", ".yml"))
    return (Path(source), None) if is_file else (None, source)


def chosen_cluster(source: str | None, overrides: list[str] | None) -> "Cluster | None":
    """The cluster of the options `--cluster` and `--cluster-set`, if there is one."""
    from opencharacter.cluster.loading import load_cluster

    if source is None:
        if overrides:
            raise typer.BadParameter("--cluster-set changes a cluster; give --cluster, too")
        return None
    return load_cluster(source, overrides or ())


def workspace_at(workdir: Path, root: str | None) -> "Workspace":
    """The workspace of the options `--workdir` and `--workspace`."""
    from opencharacter.storage.workspace import Workspace

    return Workspace(root or workdir / "workspace")


def repeated(workdir: Path, root: str | None) -> str:
    """The options `--workdir` and `--workspace` as a further command needs them, where they are not the usual ones."""
    given = [("--workdir", str(workdir) if workdir != DEFAULT_WORKDIR else None), ("--workspace", root)]
    return "".join(f" {name} {shlex.quote(value)}" for name, value in given if value)


@contextlib.contextmanager
def tracking_server(workdir: Path) -> Iterator[str]:
    """The MLflow server of MLFLOW_TRACKING_URI, or else that of a working folder, started for that time."""
    from opencharacter.errors import UserError
    from opencharacter.registry import local_server

    if present := os.environ.get("MLFLOW_TRACKING_URI"):
        yield present
        return
    folder = workdir / "mlflow"
    if not folder.is_dir():
        raise UserError(
            f"no registry: MLFLOW_TRACKING_URI is not set and {folder} does not exist",
            hint="set MLFLOW_TRACKING_URI, or give the --workdir of a run",
        )
    with local_server(folder) as uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
        try:
            yield uri
        finally:
            del os.environ["MLFLOW_TRACKING_URI"]
