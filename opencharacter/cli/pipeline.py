"""`opencharacter pipeline`: compile, submit to a cluster, watch a run there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.issues import show_issues, show_notes
from opencharacter.cli.options import (
    ClusterOverrides,
    ClusterSource,
    ConfigFile,
    Overrides,
    Preset,
    Prompts,
    RunSource,
    chosen_cluster,
    named_run,
)

if TYPE_CHECKING:
    from opencharacter.cluster.spec import Cluster
    from opencharacter.config.run import RunConfig

Token = Annotated[
    str | None, typer.Option("--token", envvar="KF_PIPELINES_TOKEN", help="Bearer token, where the API asks for one.")
]
Every = Annotated[float, typer.Option(min=0.1, help="Seconds between two queries of a run that is watched.")]

app = typer.Typer(
    help="Compile, submit and watch the Kubeflow pipeline.",
    epilog="Example: opencharacter pipeline submit final --host http://localhost:8080 --cluster node8 …",
    no_args_is_help=True,
)


@app.command("compile", epilog="Example: opencharacter pipeline compile final --cluster node8 --output final.yaml")
def compile_(
    source: RunSource = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cluster: ClusterSource = None,
    cluster_overrides: ClusterOverrides = None,
    prompts: Prompts = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.yaml or .json).")] = Path(
        "pipeline.yaml"
    ),
    workspace: Annotated[
        str | None, typer.Option(help="Default of the parameter `workspace`: an object store prefix.")
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Write Pipeline and PipelineVersion objects, for GitOps (.yaml).")
    ] = False,
) -> None:
    """Compile a run to the intermediate representation that Kubeflow Pipelines executes.

    With --cluster the file also says where, with what and from which images each step runs.
    """
    from opencharacter.config.loading import load_run_config
    from opencharacter.pipelines.compile import compile_pipeline

    config, preset = named_run(source, config, preset)
    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    placed = chosen_cluster(cluster, cluster_overrides)
    typer.echo(f"wrote {compile_pipeline(loaded, output, workspace=workspace, cluster=placed, kubernetes=kubernetes)}")
    if placed:
        show_notes(loaded, placed)


@app.command(
    "submit",
    epilog="Example: opencharacter pipeline submit final --host http://localhost:8080 --cluster node8 "
    "--cluster-set namespace=kubeflow --workspace s3://models/opencharacter",
)
def submit(
    workspace: Annotated[str, typer.Option(help="Object store prefix for all data of the run.")],
    source: RunSource = None,
    host: Annotated[str | None, typer.Option(help="Address of the Kubeflow Pipelines API.")] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cluster: ClusterSource = None,
    cluster_overrides: ClusterOverrides = None,
    prompts: Prompts = None,
    experiment: Annotated[str | None, typer.Option(help="Experiment; default: the registry's.")] = None,
    token: Token = None,
    watch_it: Annotated[
        bool, typer.Option("--watch", help="Then show the steps until the run has ended, as `pipeline watch` does.")
    ] = False,
    every: Every = 5.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be submitted, and send nothing.")] = False,
    preflight: Annotated[
        bool,
        typer.Option(
            "--preflight/--no-preflight",
            help="First look for the images, and for what this machine can see of the cluster (kubeconfig) and bucket.",
        ),
    ] = True,
) -> None:
    """Compile the run and start it on a Kubeflow Pipelines server.

    Submitting again continues a run: finished work in the workspace is reused.
    """
    from opencharacter.config.loading import load_run_config
    from opencharacter.pipelines.compile import check_placement, check_workspace
    from opencharacter.pipelines.submit import submit_pipeline

    config, preset = named_run(source, config, preset)
    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    placed = chosen_cluster(cluster, cluster_overrides)
    if host is None and not dry_run:
        raise typer.BadParameter("give --host, the address of the Kubeflow Pipelines API, or --dry-run")
    check_workspace(workspace)
    if placed:
        check_placement(loaded, placed)
        show_notes(loaded, placed)
    if dry_run:
        _show_pods(loaded, placed)
    if preflight:
        _look_ahead(loaded, placed, workspace=workspace, write=not dry_run)
    if dry_run or host is None:
        typer.echo(f"data: {workspace}\nnothing was sent")
        return
    submitted = submit_pipeline(
        loaded, host=host, workspace=workspace, cluster=placed, experiment=experiment, token=token
    )
    typer.echo(f"run {submitted.run_id}\n{submitted.url}")
    if watch_it:
        from opencharacter.cli.watch import watch_run

        namespace = placed.namespace if placed else None
        raise typer.Exit(watch_run(host, submitted.run_id, token=token, namespace=namespace, every=every))


@app.command(
    "watch",
    epilog="Example: opencharacter pipeline watch 0d3c8a4e-5b1f-4c8e-9f8e-2f6a1b7c9d0e --host http://localhost:8080",
)
def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or the address of its page.")],
    host: Annotated[
        str | None, typer.Option(help="Address of the Kubeflow Pipelines API; by default the page's.")
    ] = None,
    token: Token = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Where the run's pods are; by default its experiment's, or kubeflow."),
    ] = None,
    every: Every = 5.0,
) -> None:
    """Show the steps of a run until it has ended, and then the failing step's own error, the report, the model.

    Exit code 0 if the run succeeded, 1 if it failed or was cancelled, 2 if there is no such run. Ctrl-C (130) leaves
    the run going.
    """
    from opencharacter.cli.watch import watch_run
    from opencharacter.pipelines.watch.server import named_run

    address, run_id = named_run(run, host)
    raise typer.Exit(watch_run(address, run_id, token=token, namespace=namespace, every=every))


def _look_ahead(config: "RunConfig", cluster: "Cluster | None", *, workspace: str, write: bool) -> None:
    from opencharacter.cluster.steps import resolve_steps
    from opencharacter.preflight.checks import check_before_run, require_present

    steps = resolve_steps(config, cluster)
    issues = show_issues(check_before_run(steps, cluster, config.registry, workspace=workspace, write=write))
    require_present(
        issues,
        hint="nothing was sent. Another cluster or namespace? KUBECONFIG, --cluster-set namespace=NAME. "
        "--no-preflight submits all the same",
    )


def _show_pods(config: "RunConfig", cluster: "Cluster | None") -> None:
    from rich.console import Console
    from rich.table import Table

    from opencharacter.cluster.steps import resolve_steps

    steps = resolve_steps(config, cluster)
    table = Table("step", "pods", "GPUs", "cpu", "memory", "queue", "retries")
    for name, step in steps.items():
        pod = step.launcher
        limit = f"(max {pod.cpu_limit})" if pod.cpu_limit else ""
        table.add_row(
            name,
            str(step.workers),
            str(pod.gpus or ""),
            f"{pod.cpu or ''} {limit}".strip(),
            pod.memory or "",
            pod.queue or "",
            str(pod.retries.count or "") if pod.retries else "",
        )
    Console().print(table)
    for name, step in steps.items():
        if step.nodes > 1:
            typer.echo(f"{name} starts a TrainJob of {step.nodes} nodes, {step.gpus} GPUs each")
    for image in sorted({step.image for step in steps.values()}):
        typer.echo(f"image {image}: {', '.join(name for name, step in steps.items() if step.image == image)}")
