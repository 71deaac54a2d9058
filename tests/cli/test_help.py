"""Every command explains itself, with an example."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from opencharacter.cli.app import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_all_commands_are_walked() -> None:
    assert {("run",), ("cluster", "show"), ("characters", "new"), ("pipeline", "watch")} <= ALL.keys()


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_an_example(path: tuple[str, ...]) -> None:
    help_text = f"{ALL[path].help or ''}\n{ALL[path].epilog or ''}"
    words = " ".join(("opencharacter", *path))
    assert f"Example: {words} " in f"{help_text} " or f"Start with: {words}" in help_text, help_text


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    unexplained = [one.name for one in ALL[path].params if one.param_type_name == "option" and not one.help]
    assert unexplained == []


def test_a_working_folder_is_the_same_for_all() -> None:
    defaults = {one.default for command in ALL.values() for one in command.params if one.name == "workdir"}
    assert [str(default) for default in defaults] == ["work"]
