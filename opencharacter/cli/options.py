"""Options that several commands share."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Run configuration (YAML).")]
Preset = Annotated[
    str | None, typer.Option("--preset", "-p", help="A shipped recipe: demo, a1, a2, a3, a4, a5 or final.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key, such as sft.epochs=2. Repeatable."),
]
Workdir = Annotated[Path, typer.Option("--workdir", "-w", help="Working folder: data, models, reports, logs.")]


@contextlib.contextmanager
def tracking_server(workdir: Path) -> Iterator[str]:
    """The MLflow server of MLFLOW_TRACKING_URI, or else that of a working folder, started for the while."""
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
