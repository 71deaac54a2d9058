"""`opencharacter cluster`: cluster files, and what the cluster itself has and what is missing."""

import json
from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.issues import show_issues, show_notes
from opencharacter.cli.options import ClusterOverrides, ConfigFile, Overrides, Preset

app = typer.Typer(
    help="Show and check cluster files, and check the cluster itself.",
    epilog="Start with: opencharacter cluster list",
    no_args_is_help=True,
)

_Source = Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="A shipped cluster, or a YAML file.")]


@app.command("list", epilog="Example: opencharacter cluster list")
def list_clusters() -> None:
    """List the shipped clusters."""
    from opencharacter.cluster.loading import load_cluster, shipped_clusters

    for name in shipped_clusters():
        typer.echo(f"{name:8} {load_cluster(name).description}")


@app.command("show", epilog="Example: opencharacter cluster show node8 > mine.yaml")
def show(
    source: _Source,
    overrides: ClusterOverrides = None,
    full: Annotated[bool, typer.Option("--full", help="Each step with what it gets from the defaults.")] = False,
) -> None:
    """Print a cluster file: as it is shipped, or with overrides, or as each step's pod sees it."""
    from opencharacter.cluster.loading import cluster_text, load_cluster
    from opencharacter.cluster.spec import STEPS

    if not overrides and not full:
        typer.echo(cluster_text(source), nl=False)
        return
    import yaml

    loaded = load_cluster(source, overrides or ())
    shown = loaded.model_dump(mode="json", exclude_unset=not full, exclude_none=full)
    if full:
        shown["steps"] = {step: loaded.placement(step).model_dump(mode="json", exclude_none=True) for step in STEPS}
    typer.echo(yaml.safe_dump(shown, sort_keys=False), nl=False)


@app.command("check", epilog="Example: opencharacter cluster check mine.yaml --preset final")
def check(
    source: _Source,
    overrides: ClusterOverrides = None,
    config: ConfigFile = None,
    preset: Preset = None,
    run_overrides: Overrides = None,
) -> None:
    """Check a cluster file and, with --config or --preset, whether the run fits it. Exit code 2 if not."""
    from opencharacter.cluster.loading import load_cluster
    from opencharacter.config.loading import load_run_config
    from opencharacter.pipelines.compile import check_placement

    loaded = load_cluster(source, overrides or ())
    if config is None and preset is None:
        typer.echo(f"{loaded.name}: valid")
        return
    run = load_run_config(config, preset=preset, overrides=run_overrides or ())
    check_placement(run, loaded)
    typer.echo(f"{loaded.name}: valid, and {run.name} fits")
    show_notes(run, loaded)


@app.command("schema", epilog="Example: opencharacter cluster schema > cluster.schema.json")
def schema() -> None:
    """Print the JSON schema of a cluster file: every key, its meaning and default."""
    from opencharacter.cluster.spec import Cluster

    typer.echo(json.dumps(Cluster.model_json_schema(), indent=2))


@app.command(
    "workflow-defaults", epilog="Example: opencharacter cluster workflow-defaults controller.yaml > patch.yaml"
)
def workflow_defaults(
    config_map: Annotated[
        Path, typer.Argument(metavar="FILE", help="Argo's workflow-controller-configmap, as kubectl prints it.")
    ],
    group: Annotated[
        int, typer.Option(min=1, help="Group of the volumes: the cluster's run_as_user, 65532 by default.")
    ] = 65532,
) -> None:
    """Print a patch of Argo's defaults: retries as the cluster file has them, volumes that steps may write.

    The other defaults stay, such as how long finished runs are kept.
    """
    import yaml

    from opencharacter.cluster.workflow_defaults import CONFIG_MAP, defaults_patch
    from opencharacter.errors import UserError
    from opencharacter.yaml_files import read_text

    try:
        found = yaml.safe_load(read_text(config_map, hint=f"kubectl get configmap {CONFIG_MAP} --output yaml"))
    except yaml.YAMLError as error:
        raise UserError(f"{config_map}: not valid YAML: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        raise UserError(f"{config_map}: expected a ConfigMap with its `data`")
    typer.echo(yaml.safe_dump(defaults_patch(found, group=group), default_style="|"), nl=False)


@app.command("preflight", epilog="Example: opencharacter cluster preflight --cluster node8 --bucket s3://models/runs")
def preflight(
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="NAME_OR_FILE", help="Look for everything that this cluster file names."),
    ] = None,
    cluster_overrides: ClusterOverrides = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Where the runs will live.")] = None,
    need: Annotated[
        list[str] | None, typer.Option(help="kserve, pipelines, trainer or kueue must be installed. Repeatable.")
    ] = None,
    gpus: Annotated[int, typer.Option(help="GPUs that one node must offer: 0, 1, 2, 4, 8 or 16.")] = 0,
    gpu_type: Annotated[
        str, typer.Option(help="The extended resource that counts as a GPU.", metavar="RESOURCE")
    ] = "nvidia.com/gpu",
    cpu: Annotated[str | None, typer.Option(metavar="CORES", help="CPU that one node must offer: 500m, 2.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="BYTES", help="Memory that one node must offer: 8Gi.")] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:KEY,…]", help="A Secret that must be there, with these keys. Repeatable."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="REFERENCE", help="An image that its registry must hold. Repeatable.")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="A ServingRuntime that must serve our model format.")] = None,
    bucket: Annotated[
        str | None,
        typer.Option(metavar="s3://BUCKET/PREFIX", help="Must take a write with the AWS_* variables."),
    ] = None,
    warn_only: Annotated[bool, typer.Option("--warn-only", help="Exit code 0 although something is missing.")] = False,
) -> None:
    """Say what is missing: platform parts, room on nodes, Secrets, images, the bucket. Exit code 2 if something is."""
    from pydantic import ValidationError

    from opencharacter.cluster.loading import load_cluster
    from opencharacter.cluster.steps import resolve_steps
    from opencharacter.errors import UserError
    from opencharacter.preflight.checks import check_all, require_present
    from opencharacter.preflight.requirements import Requirements, requirements_of

    named = Requirements()
    if cluster:
        chosen = load_cluster(cluster, cluster_overrides or ())
        named = requirements_of(resolve_steps(None, chosen), chosen)
    settings = {
        "namespace": namespace or named.namespace,
        "parts": tuple(dict.fromkeys([*named.parts, *(need or ())])),
        "gpus": gpus,
        "gpu_type": gpu_type,
        "cpu": cpu,
        "memory": memory,
        "pods": named.pods,
        "secrets": [*named.secrets, *(_secret(text) for text in secret or ())],
        "runtime": runtime,
        "queues": named.queues,
        "priorities": named.priorities,
        "retries": named.retries,
        "images": tuple(dict.fromkeys(image or ())),
        "step_images": named.step_images,
        "bucket": bucket,
    }
    try:
        required = Requirements.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = {"parts": "need", "secrets": "secret"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise UserError(f"--{option.replace('_', '-')}: {first['msg']} (got {first['input']!r})") from error
    issues = show_issues(check_all(required))
    if not warn_only:
        require_present(issues)


def _secret(text: str) -> dict[str, object]:
    name, _, keys = text.partition(":")
    return {"name": name, "keys": [key for key in keys.split(",") if key]}
