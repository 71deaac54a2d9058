"""`opencharacter config`: show, check and explain run configurations."""

import json
from typing import Annotated

import typer

from opencharacter.cli.options import ConfigFile, Overrides, Preset, RunSource, named_run

app = typer.Typer(
    help="Show and check run configurations.",
    epilog="Example: opencharacter config show demo > run.yaml",
    no_args_is_help=True,
)


@app.command("show", epilog="Example: opencharacter config show demo > run.yaml")
def show(
    source: RunSource = None,
    preset: Preset = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    full: Annotated[bool, typer.Option("--full", help="With every default filled in.")] = False,
) -> None:
    """Print a configuration: a recipe as it is shipped, or any with overrides and defaults filled in."""
    from opencharacter.config.loading import load_run_config, preset_text

    config, preset = named_run(source, config, preset)
    if preset and not config and not overrides and not full:
        typer.echo(preset_text(preset), nl=False)
        return
    import yaml

    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    typer.echo(yaml.safe_dump(loaded.model_dump(mode="json", exclude_none=True), sort_keys=False), nl=False)


@app.command("validate", epilog="Example: opencharacter config validate run.yaml --set sft.epochs=3")
def validate(
    source: RunSource = None, config: ConfigFile = None, preset: Preset = None, overrides: Overrides = None
) -> None:
    """Check a configuration, its local data and models; exit code 2 and the place of each fault if something is wrong.

    A line for each file says what it is and how many rows it has.
    """
    from opencharacter.config.loading import load_run_config
    from opencharacter.planning.deciding import require_deciding
    from opencharacter.planning.models import require_whole_models
    from opencharacter.planning.sources import describe_sources, look_at_sources, require_readable

    config, preset = named_run(source, config, preset)
    loaded = load_run_config(config, preset=preset, overrides=overrides or ())
    looks = look_at_sources(loaded)
    for line in describe_sources(looks):
        typer.echo(line)
    require_readable(looks)
    require_whole_models(loaded)
    require_deciding(loaded)
    typer.echo(f"{loaded.name}: valid")


@app.command("presets", epilog="Example: opencharacter config presets")
def list_presets() -> None:
    """List the shipped recipes."""
    from opencharacter.config.loading import preset_text, presets

    for name in presets():
        typer.echo(f"{name:8} {preset_text(name).splitlines()[0].removeprefix('# ')}")


@app.command("schema", epilog="Example: opencharacter config schema > run.schema.json")
def schema() -> None:
    """Print the JSON schema of the configuration: every key, its meaning and default."""
    from opencharacter.config.run import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
