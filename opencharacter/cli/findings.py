"""How the outcome of a preflight is shown."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from opencharacter.pipelines.preflight.findings import Finding

_COLOURS = {"ok": "green", "missing": "red", "unknown": "yellow"}


def show_findings(findings: "list[Finding]") -> None:
    """Print a line for each, and below it what to do."""
    for finding in findings:
        typer.secho(f"{finding.state:8}", fg=_COLOURS[finding.state], nl=False)
        typer.echo(f"{finding.subject}: {finding.message}")
        if finding.hint:
            typer.echo(f"         → {finding.hint}")
