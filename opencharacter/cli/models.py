"""`opencharacter models`, `promote` and `mlflow`: the release owner's commands."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import Workdir, tracking_server

_Name = Annotated[str, typer.Option("--model", "-m", help="Name of the registered model.")]


def models(name: _Name, workdir: Workdir = Path("work/demo")) -> None:
    """List the versions of a registered model, newest first, with their aliases.

    Example: opencharacter models --model opencharacter-demo
    """
    from rich.console import Console
    from rich.table import Table

    from opencharacter.registry import list_versions

    with tracking_server(workdir):
        found = list_versions(name)
    table = Table("version", "aliases", "base model", "weights")
    for version in found:
        table.add_row(str(version.version), ", ".join(version.aliases), version.tags.get("base_model", ""), version.uri)
    Console().print(table)


def promote(
    name: _Name,
    version: Annotated[int | None, typer.Option(help="Version to promote; default: the challenger.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote although no gate has passed; needs --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, recorded with the version.")] = None,
    workdir: Workdir = Path("work/demo"),
) -> None:
    """Make a version the champion, if its gate has passed. A rollback is a promotion of the older version.

    Example: opencharacter promote --model opencharacter-demo --version 1 --force --reason "rollback: slow answers"
    """
    from opencharacter.errors import UserError
    from opencharacter.registry import RegistryConfig
    from opencharacter.registry import promote as promote_version

    if force and not reason:
        raise UserError("--force needs --reason TEXT, which is recorded with the version")
    with tracking_server(workdir):
        champion = promote_version(
            RegistryConfig(model_name=name), version=version, force_reason=reason if force else None
        )
    typer.echo(f"champion of {name} is version {champion.version}: models:/{name}@champion")


def mlflow(workdir: Workdir = Path("work/demo")) -> None:
    """Serve the MLflow pages of a working folder until Ctrl-C.

    Example: opencharacter mlflow --workdir work/demo
    """
    import signal

    with tracking_server(workdir) as uri:
        typer.echo(f"MLflow: {uri}  (Ctrl-C ends it)")
        signal.pause()
