"""`opencharacter evaluate export`: answers and scores for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, WorkspaceRoot

if TYPE_CHECKING:
    from opencharacter.storage.workspace import Artifact, Workspace


class Format(StrEnum):
    """What is written."""

    INSPECT = "inspect"


def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder that gets the files.")],
    format: Annotated[Format, typer.Option(help="inspect: logs of inspect_ai, for `inspect view`.")] = Format.INSPECT,
    suite: Annotated[
        list[str] | None, typer.Option(metavar="SUITE", help="Only evaluations with these suites. Repeatable.")
    ] = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
) -> None:
    """Write the evaluations of a workspace as logs that `inspect view` shows: a file for each suite and model.

    inspect_ai is installed apart, since it asks for other versions than opencharacter:
    pipx run --spec inspect_ai inspect view --log-dir FOLDER

    Example: opencharacter evaluate export --output logs --suite safety
    """
    from opencharacter.evaluation.inspect_log import write_inspect_logs
    from opencharacter.storage.workspace import Workspace

    for evaluation in _evaluations(Workspace(workspace or workdir / "workspace"), suite):
        for path in write_inspect_logs(evaluation, output):
            typer.echo(path)


def _evaluations(workspace: "Workspace", suites: list[str] | None) -> "list[Artifact]":
    from opencharacter.errors import UserError
    from opencharacter.storage.kinds import suite_of

    found = workspace.list("evaluation")
    if not found:
        raise UserError(f"{workspace.uri}: holds no evaluation", hint="make one: opencharacter evaluate run")
    measured = {suite_of(evaluation) for evaluation in found}
    if unknown := sorted(set(suites or ()) - measured):
        raise UserError(f"--suite {unknown[0]}: not measured in {workspace.uri}", hint=f"there are: {sorted(measured)}")
    return [evaluation for evaluation in found if not suites or suite_of(evaluation) in suites]
