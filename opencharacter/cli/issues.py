"""Prints what checks have found: of a cluster itself, and of a run on it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from opencharacter.cluster.checks import Issue
    from opencharacter.cluster.spec import Cluster
    from opencharacter.config.run import RunConfig

_COLOURS = {"ok": "green", "missing": "red", "differs": "red", "fatal": "red", "warning": "yellow", "unknown": "yellow"}


def show_issues(issues: "Iterable[Issue]") -> "list[Issue]":
    """Print a line for each as it is found, and below it what to do; returns them all."""
    shown = []
    for issue in issues:
        shown.append(issue)
        typer.secho(f"{issue.state:8}", fg=_COLOURS[issue.state], nl=False)
        typer.echo(f"{issue.subject}: {issue.message}")
        if issue.hint:
            typer.echo(f"         → {issue.hint}")
    return shown


def show_notes(run: "RunConfig", cluster: "Cluster") -> None:
    """Print a note for each issue of a run on a cluster."""
    from opencharacter.pipelines.compile import find_issues

    for issue in find_issues(run, cluster):
        step = f" (step {issue.step})" if issue.step else ""
        typer.echo(f"  note: {issue.subject}: {issue.message}{step}")
