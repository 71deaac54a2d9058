"""`opencharacter pipeline`: compile, run here, submit to a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import ConfigFile, Overrides, Preset, Workdir

app = typer.Typer(help="Compile, run and submit the Kubeflow pipeline.", no_args_is_help=True)


@app.command("compile", epilog="Example: opencharacter pipeline compile --preset final --output final.yaml")
def compile_(
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.yaml or .json).")] = Path(
        "pipeline.yaml"
    ),
    workspace: Annotated[
        str | None, typer.Option(help="Default of the parameter `workspace`: an object store prefix.")
    ] = None,
) -> None:
    """Compile a run to the intermediate representation that Kubeflow Pipelines executes."""
    from opencharacter.pipelines.compile import compile_pipeline
    from opencharacter.pipelines.loading import load_run_config

    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    typer.echo(f"wrote {compile_pipeline(loaded, output, workspace=workspace)}")


@app.command("run", epilog="Example: opencharacter pipeline run --local --preset demo --workdir work/demo")
def run(
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    workdir: Workdir = Path("work"),
    local: Annotated[bool, typer.Option("--local", help="On this machine, each step a process.")] = False,
) -> None:
    """Run the pipeline on this machine, with no cluster and no Docker."""
    if not local:
        raise typer.BadParameter(
            "say --local to run here; to run on a cluster: opencharacter pipeline submit --host URL"
        )
    from opencharacter.cli.run import run_and_tell

    run_and_tell(config, preset, overrides, workdir)


@app.command(
    "submit",
    epilog="Example: opencharacter pipeline submit --host http://localhost:8080 --preset final "
    "--workspace s3://models/opencharacter",
)
def submit(
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines API.")],
    workspace: Annotated[str, typer.Option(help="Object store prefix for all data of the run.")],
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    experiment: Annotated[str | None, typer.Option(help="Experiment; default: the registry's.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="KF_PIPELINES_TOKEN", help="Bearer token, where the API asks for one.")
    ] = None,
) -> None:
    """Compile the run and start it on a Kubeflow Pipelines server."""
    from opencharacter.pipelines.loading import load_run_config
    from opencharacter.pipelines.submit import submit_pipeline

    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    submitted = submit_pipeline(loaded, host=host, workspace=workspace, experiment=experiment, token=token)
    typer.echo(f"run {submitted.run_id}\n{submitted.url}")
