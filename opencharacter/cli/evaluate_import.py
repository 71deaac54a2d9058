"""`opencharacter evaluate import`: suites from a user's copy of a public benchmark."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Make suites from your own copy of a public benchmark; none of its texts comes with this library.",
    epilog="Example: opencharacter evaluate import personagym PersonaGym",
    no_args_is_help=True,
)

DEFAULT_OUT = Path("imported-suites")


@app.callback()
def _group() -> None:
    """Keeps the name of the benchmark a word of its own while there is only one."""


@app.command("personagym", epilog="Example: opencharacter evaluate import personagym PersonaGym --out suites")
def personagym(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A clone of vsamuel2003/PersonaGym or xyang0/PersonaGym.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the suites' folders go.")] = DEFAULT_OUT,
    system_prompt: Annotated[
        Literal["own", "immersive", "paper", "identity", "opencharacter"],
        typer.Option(
            help="What models are asked with: each model's own template; one of ours for all; or the public code's for"
            " the models of its tables (identity) or for its OpenCharacter model (opencharacter)."
        ),
    ] = "own",
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Also take texts that differ from the published, or fewer personas.")
    ] = False,
) -> None:
    """Make the suites personagym and personagym-light, and their -faithful twins for published tables."""
    from opencharacter.evaluation.personagym.importing import import_personagym
    from opencharacter.evaluation.suites import load_suite

    folders = import_personagym(folder, out, system_prompt=system_prompt, allow_changes=allow_changes)
    for path in folders:
        config = load_suite(path).config
        typer.echo(f"{path}: {config.description}" + (f"; {config.notice}" if config.notice else ""))
    typer.echo(f"source: {config.source}, {config.license}; digests of its files are in sources.json")
    typer.echo(f"next: opencharacter evaluate plan --suite {folders[1]} --model MODEL --judge JUDGE")
