"""`opencharacter plan`: what a run would do, where, for how long and at what cost."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import ConfigFile, Overrides, Preset, Profile, ProfileOverrides, Prompts, chosen_profile


def plan(
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    profile: Profile = None,
    profile_overrides: ProfileOverrides = None,
    prompts: Prompts = None,
    prices: Annotated[Path | None, typer.Option(help="Your prices and figures (YAML), over the shipped ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    show_prices: Annotated[
        bool, typer.Option("--show-prices", help="Print the shipped prices file, to start your own from, and end.")
    ] = False,
) -> None:
    """Tell what a run will do before anything runs: rows, LLM calls, tokens, GPU-hours, cost, storage, what is lacking.

    Local inputs are read; nothing is asked, fetched or started.

    Example: opencharacter plan --preset final --profile pool --prices prices.yaml
    """
    from opencharacter.planning import load_figures, make_plan, shipped_text, show_plan

    if show_prices:
        typer.echo(shipped_text(), nl=False)
        return
    from rich.console import Console

    from opencharacter.config.loading import load_run_config

    figures = load_figures(prices)
    cluster = chosen_profile(profile, profile_overrides)
    made = make_plan(load_run_config(config, preset=preset, overrides=overrides or ()), cluster, figures)
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # Text for a file or a pager: as wide as it takes.
        console = Console(highlight=False, width=160)
    show_plan(made, console)
