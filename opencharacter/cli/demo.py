"""`opencharacter demo`: the whole chain, then one question to the served model."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import Overrides, Workdir


def demo(
    workdir: Workdir = Path("work/demo"),
    question: Annotated[str | None, typer.Option(help="What to ask the tuned model at the end.")] = None,
    overrides: Overrides = None,
) -> None:
    """Synthesise characters, train on them, register, serve, and ask a character that training never saw.

    Everything is real and small: a 135M-parameter model on this machine's CPU. Run again to see what is reused.

    Example: opencharacter demo --question "What would you tell your younger self?"
    """
    from opencharacter.cli.display import RunDisplay
    from opencharacter.pipelines.demo import run_demo

    with RunDisplay() as display:
        result = run_demo(
            workdir, question=question, overrides=overrides or (), on_line=display.line, note=display.note
        )
    address = f"models:/{result.model.name}@{result.alias}"
    typer.secho(f"\n{result.character} was asked: {result.question}", bold=True)
    typer.echo(result.answer)
    typer.echo(f"\nMLflow model  models:/{result.model.name}/{result.model.version} ({result.alias})")
    typer.echo(f"report        {result.report}")
    typer.echo(f"serve it      opencharacter serve --model {address} --workdir {workdir}")
