"""`opencharacter plan`: what a run would do, where, for how long and at what cost."""

from pathlib import Path
from typing import Annotated

import typer

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


def plan(
    source: RunSource = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
    cluster: ClusterSource = None,
    cluster_overrides: ClusterOverrides = None,
    prompts: Prompts = None,
    prices: Annotated[Path | None, typer.Option(help="Your prices and figures (YAML), over the shipped ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    show_prices: Annotated[
        bool, typer.Option("--show-prices", help="Print the shipped prices file, to start your own from, and end.")
    ] = False,
) -> None:
    """Estimate a run before starting it: rows, LLM calls, tokens, GPU-hours, cost, storage, and what is missing.

    Local inputs are read; no model is called, nothing is downloaded or started.

    Example: opencharacter plan final --cluster pool --prices prices.yaml
    """
    from opencharacter.planning import load_figures, make_plan, shipped_text, show_plan

    if show_prices:
        typer.echo(shipped_text(), nl=False)
        return
    from rich.console import Console

    from opencharacter.config.loading import load_run_config

    config, preset = named_run(source, config, preset)
    figures = load_figures(prices)
    chosen = chosen_cluster(cluster, cluster_overrides)
    made = make_plan(load_run_config(config, preset=preset, overrides=overrides or ()), chosen, figures)
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # Text for a file or a pager: as wide as it takes.
        console = Console(highlight=False, width=160)
    show_plan(made, console)
