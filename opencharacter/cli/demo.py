"""`opencharacter demo`: the whole chain, then one question to the base and the tuned model side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, Overrides, Workdir

if TYPE_CHECKING:
    from opencharacter.reporting import ModelAnswer, ServedAnswer


def demo(
    workdir: Workdir = DEFAULT_WORKDIR,
    question: Annotated[str | None, typer.Option(help="What to ask both models at the end.")] = None,
    overrides: Overrides = None,
) -> None:
    """Synthesise characters, train on them, register, serve, and ask a character that training never saw.

    Everything is real and small: a 135M-parameter model on this machine's CPU. At the end, the base model and the
    tuned one answer the same question. Run again to see what is reused.

    Example: opencharacter demo --question "What would you tell your younger self?"
    """
    from opencharacter.cli.display import RunDisplay
    from opencharacter.pipelines.demo import run_demo

    with RunDisplay() as display:
        result = run_demo(
            workdir, question=question, overrides=overrides or (), on_line=display.line, note=display.note
        )
    address = f"models:/{result.model.name}@{result.alias}"
    print_answers(result.served)
    typer.echo(f"\nMLflow model  models:/{result.model.name}/{result.model.version} ({result.alias})")
    typer.echo(f"report        {result.report}")
    typer.echo(f"serve it      opencharacter serve --model {address} --workdir {workdir}")


def print_answers(served: "ServedAnswer") -> None:
    """Print the question and both answers; a text that is not coherent is named, not printed."""
    typer.secho(f"\n{served.profile.label} was asked: {served.question}", bold=True)
    for label, answer in (("base model", served.base), ("tuned model", served.tuned)):
        if answer is not None:
            typer.secho(f"\n{label}  {answer.model or ''}".rstrip(), bold=True)
            typer.echo(_shown(answer))
    for note in served.notes:
        typer.secho(f"\n{note}", dim=True)


def _shown(answer: "ModelAnswer") -> str:
    from opencharacter.serving import printable

    if answer.fault is None:
        return printable(answer.text.strip()) + (" […]" if answer.cut else "")
    draws = "1 draw" if answer.draws == 1 else f"{answer.draws} draws"
    return f"(no coherent answer in {draws}: in the last one, {answer.fault}; the report has the text)"
