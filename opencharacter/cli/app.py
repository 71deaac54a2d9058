"""The root command, and how every command ends: exit code 0, 1 (failure), 2 (wrong use) or 130 (interrupted)."""

import errno
import os
import signal
import sys
import traceback
import warnings
from types import FrameType, TracebackType
from typing import Annotated, Any

import typer

from opencharacter import __version__
from opencharacter.cli import (
    cluster,
    config,
    demo,
    endpoint,
    evaluate,
    evaluate_judges,
    models,
    pipeline,
    plan,
    promoter,
    run,
    serving,
)
from opencharacter.errors import OpenCharacterError
from opencharacter.redaction import redact
from opencharacter.yaml_files import RenamedWarning

app = typer.Typer(
    name="opencharacter",
    help="Train and serve language models that play any character from its profile.",
    epilog="Start with: opencharacter demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("report")(run.report)
app.command("plan")(plan.plan)
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(evaluate.app, name="evaluate")
evaluate.app.command(
    "judge-check", epilog="Example: opencharacter evaluate judge-check --judge https://api.example.com/v1#judge-model"
)(evaluate_judges.judge_check)
evaluate.app.command("label", epilog="Example: opencharacter evaluate label --suite frozen --n 100")(
    evaluate_judges.label
)
app.add_typer(config.app, name="config")
app.add_typer(cluster.app, name="cluster")
app.command("models")(models.models)
app.command("promote")(models.promote)
app.command("deploy")(models.deploy)
app.command("promoter")(promoter.promoter)
app.command("mlflow")(models.mlflow)
app.command("serve")(serving.serve)
app.command("chat")(serving.chat)
app.add_typer(serving.characters, name="characters")
app.add_typer(endpoint.app, name="endpoint")

_debug = False

_PYTHON_SHOWS = warnings.showwarning

_RENAMED_OPTIONS = {"--profile": "--cluster", "--profile-set": "--cluster-set", "--url": "--base-url"}
"""Options of version 0.1."""

# The base of click's errors: typer carries its own copy of click, and exports only the end of the family.
_USAGE_ERRORS: Any = typer.BadParameter.__mro__[2]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"opencharacter {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    global _debug
    _debug = debug


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code. Errors become one message, without a traceback unless --debug."""
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _show_warning
    sys.excepthook = _show_traceback
    warnings.simplefilter("default", RenamedWarning)
    try:
        code = app(_with_new_names(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("\ninterrupted; the same command continues where it stopped", err=True)
        sys.exit(130)
    except _USAGE_ERRORS as error:
        error.show()
        sys.exit(error.exit_code)
    except OpenCharacterError as error:
        _end(error, str(error), error.hint, error.exit_code)
    except BrokenPipeError:
        # The reader (a pager, head) has gone; Python would complain again at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _end(error, "the disk is full", "free some space and run the same command again: nothing is lost", 1)
        _end(error, str(error), None, 1)


def _end(error: BaseException, message: str, hint: str | None, code: int) -> None:
    if _debug:
        raise error
    typer.secho(f"error: {redact(message)}", err=True, fg="red")
    if hint:
        typer.echo(f"  {hint}", err=True)
    sys.exit(code)


def _with_new_names(arguments: list[str]) -> list[str]:
    """The arguments, with commands and options of version 0.1 under their new names. One line on stderr names those."""
    words = list(arguments)
    if words[:2] == ["pipeline", "run"]:
        _note_renamed("pipeline run", "run")
        words = ["run", *(word for word in words[2:] if word != "--local")]
    for index, word in enumerate(words):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if new := _RENAMED_OPTIONS.get(option):
            _note_renamed(option, new)
            words[index] = new + equals + value
    return words


def _note_renamed(old: str, new: str) -> None:
    warnings.warn(f"'{old}' is now '{new}'", RenamedWarning, stacklevel=2)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """One line of what is ours, and a library's warning as Python shows it."""
    if issubclass(category, RenamedWarning):
        typer.echo(f"note: {message}", err=True)
    else:
        _PYTHON_SHOWS(message, category, *where, **more)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
