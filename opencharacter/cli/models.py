"""`opencharacter models`, `promote`, `deploy` and `mlflow`: the release owner's commands."""

from typing import Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, ConfigFile, Overrides, Preset, Workdir, tracking_server

_Name = Annotated[str, typer.Option("--model", "-m", help="Name of the registered model.")]


def models(name: _Name, workdir: Workdir = DEFAULT_WORKDIR) -> None:
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
    workdir: Workdir = DEFAULT_WORKDIR,
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


def deploy(
    model: Annotated[str, typer.Option("--model", "-m", help="models:/NAME@ALIAS or models:/NAME/VERSION.")],
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the InferenceService instead of applying it.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Wait for the pods and ask the version a question before it serves; otherwise apply it and leave.",
        ),
    ] = True,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds for the pods to be ready; default: deploy.ready_seconds.")
    ] = None,
    workdir: Workdir = DEFAULT_WORKDIR,
) -> None:
    """Bring a registered model into service on KServe, as the section `deploy` of a configuration says.

    Another model starts beside the one in service, without traffic; it takes over once it has answered a question.
    The same command deploys, updates, continues what was interrupted and, given the older version, rolls back.

    Example: opencharacter deploy --model models:/opencharacter-final@champion --preset final
    """
    import yaml

    from opencharacter.config.loading import load_run_config
    from opencharacter.registry import resolve
    from opencharacter.serving import deployment_manifest, roll_out

    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    with tracking_server(workdir):
        version = resolve(model)
    if dry_run:
        manifest = deployment_manifest(loaded.deploy.model_copy(update={"apply": False}), version)
        typer.echo(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), nl=False)
        return
    rollout = roll_out(
        loaded.deploy, version, wait=wait, timeout_s=timeout, report=lambda text: typer.echo(text, err=True)
    )
    label = f"version {rollout.version} of {version.name}"
    if wait:
        typer.echo(f"{label} serves at {rollout.address}/openai/v1")
    else:
        name, namespace = rollout.service, rollout.namespace
        typer.echo(f"applied InferenceService {name} for {label}, without waiting for it or asking it a question")
        typer.echo(f"kubectl rollout status --namespace {namespace} deployment/{rollout.deployment}")


def mlflow(workdir: Workdir = DEFAULT_WORKDIR) -> None:
    """Serve the MLflow pages of a working folder until Ctrl-C.

    Example: opencharacter mlflow --workdir work/mine
    """
    import signal

    with tracking_server(workdir) as uri:
        typer.echo(f"MLflow: {uri}  (Ctrl-C ends it)")
        signal.pause()
