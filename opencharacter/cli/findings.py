"""How it is shown what a cluster, or its profile, lacks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from opencharacter.cluster.spec import Cluster
    from opencharacter.config.run import RunConfig
    from opencharacter.preflight.findings import Finding

_COLOURS = {"ok": "green", "missing": "red", "differs": "red", "warning": "yellow", "unknown": "yellow"}


def show_findings(findings: "Iterable[Finding]") -> "list[Finding]":
    """Print a line for each as it is found, and below it what to do; returns them all."""
    shown = []
    for finding in findings:
        shown.append(finding)
        typer.secho(f"{finding.state:8}", fg=_COLOURS[finding.state], nl=False)
        typer.echo(f"{finding.subject}: {finding.message}")
        if finding.hint:
            typer.echo(f"         → {finding.hint}")
    return shown


def show_lacks(run: "RunConfig", profile: "Cluster") -> None:
    """Print a note for each thing that the profile lacks for the run."""
    from opencharacter.pipelines.compile import lacks_of

    for lack in lacks_of(run, profile):
        step = f" (step {lack.step})" if lack.step else ""
        typer.echo(f"  note: {lack.key}: {lack.message}{step}")
