"""`opencharacter run` and `opencharacter report`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.options import (
    DEFAULT_WORKDIR,
    ConfigFile,
    Overrides,
    Preset,
    Prompts,
    RunSource,
    Workdir,
    WorkspaceRoot,
    named_run,
)

if TYPE_CHECKING:
    from opencharacter.reporting import ReportInputs


def run(
    source: RunSource = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    prompts: Prompts = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    containers: Annotated[
        bool, typer.Option("--containers", help="Run each step in its image; needs Docker and `make images`.")
    ] = False,
) -> None:
    """Run the whole pipeline on this machine. Run again to resume, or to redo only what a change touches.

    Example: opencharacter run run.yaml --set sft.epochs=2 --workdir work/mine
    """
    config, preset = named_run(source, config, preset)
    run_and_tell(config, preset, overrides, workdir, workspace=workspace, containers=containers)


def run_and_tell(
    config: Path | None,
    preset: str | None,
    overrides: list[str] | None,
    workdir: Path,
    *,
    workspace: str | None = None,
    containers: bool = False,
) -> None:
    """Run, showing the stages, and print the registered model, the decision of the gate and where the report is."""
    from opencharacter.cli.display import RunDisplay
    from opencharacter.config.loading import load_run_config
    from opencharacter.pipelines.local import run_local
    from opencharacter.reporting import ReportInputs
    from opencharacter.storage.kinds import REPORT

    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    with RunDisplay() as display:
        ref = run_local(loaded, workdir, workspace=workspace, on_line=display.line, containers=containers)
    typer.echo()
    for line in outcome(ReportInputs.model_validate(ref.stats["run"])):
        typer.echo(line)
    typer.echo(f"report: {REPORT.path(ref)}")


def outcome(run: "ReportInputs") -> Iterator[str]:
    """The registered version, and the gate's decision with its reason."""
    from opencharacter.reporting import describe_decision

    if run.registered:
        yield f"model:  models:/{run.registered['name']}/{run.registered['version']}"
    if run.decision:
        decision = describe_decision(run.decision)
        yield f"gate:   {decision.headline} ({decision.text})"


def report(workdir: Workdir = DEFAULT_WORKDIR) -> None:
    """Print the path of the newest report in a working folder.

    Example: opencharacter report --workdir work/mine
    """
    from opencharacter.errors import UserError
    from opencharacter.storage.kinds import REPORT
    from opencharacter.storage.workspace import Workspace

    found = Workspace(workdir / "workspace").list("report") if workdir.is_dir() else []
    if not found:
        raise UserError(f"{workdir}: no report there", hint=f"make one: opencharacter run --workdir {workdir} …")
    typer.echo(max((REPORT.path(artifact) for artifact in found), key=lambda path: path.stat().st_mtime))
