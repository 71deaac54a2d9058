"""`opencharacter cluster`: what the cluster has, and what it lacks."""

from typing import Annotated

import typer

app = typer.Typer(help="Look at the Kubernetes cluster.", no_args_is_help=True)

_COLOURS = {"ok": "green", "missing": "red", "unknown": "yellow"}


@app.command("preflight", epilog="Example: opencharacter cluster preflight --need kserve --need pipelines --gpus 1")
def preflight(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where the runs will live.")] = "default",
    need: Annotated[
        list[str] | None, typer.Option(help="kserve, pipelines, trainer or kueue must be installed. Repeatable.")
    ] = None,
    gpus: Annotated[int, typer.Option(help="GPUs that one node must offer: 0, 1, 2, 4, 8 or 16.")] = 0,
    gpu_type: Annotated[str, typer.Option(help="The extended resource that counts as a GPU.")] = "nvidia.com/gpu",
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:KEY,…]", help="A Secret that must be there, with these keys. Repeatable."),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(metavar="s3://BUCKET/PREFIX", help="Must take a write with the AWS_* variables."),
    ] = None,
    warn_only: Annotated[bool, typer.Option("--warn-only", help="Exit code 0 although something is missing.")] = False,
) -> None:
    """Say what a cluster lacks: platform parts, a GPU, Secrets, the bucket. Exit code 2 if something is missing."""
    from pydantic import ValidationError

    from opencharacter.errors import UserError
    from opencharacter.pipelines.preflight import Needs, check_cluster

    secrets = [_secret(text) for text in secret or ()]
    settings = {"namespace": namespace, "parts": need or (), "gpus": gpus, "gpu_type": gpu_type, "bucket": bucket}
    try:
        needs = Needs.model_validate(settings | {"secrets": secrets})
    except ValidationError as error:
        first = error.errors()[0]
        option = {"parts": "need", "secrets": "secret"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise UserError(f"--{option.replace('_', '-')}: {first['msg']} (got {first['input']!r})") from error
    findings = check_cluster(needs)
    for finding in findings:
        typer.secho(f"{finding.state:8}", fg=_COLOURS[finding.state], nl=False)
        typer.echo(f"{finding.subject}: {finding.message}")
        if finding.hint:
            typer.echo(f"         → {finding.hint}")
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    if missing and not warn_only:
        raise UserError(f"the cluster lacks: {', '.join(missing)}")


def _secret(text: str) -> dict[str, object]:
    name, _, keys = text.partition(":")
    return {"name": name, "keys": [key for key in keys.split(",") if key]}
