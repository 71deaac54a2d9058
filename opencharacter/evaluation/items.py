"""Reads the items and characters of a suite's folder; every fault names file and line.

A line of `items.jsonl` is an `Item`. People may leave out `suite`, `session_id` and `id`, and write the character into
the line (`character`: a profile, or a persona as text). `character_id` is the id of a line of `characters.jsonl`, which
is a `CharacterProfile` with an `id` of the author's choice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation.suite_config import SuiteConfig
from opencharacter.hashing import digest
from opencharacter.records.evaluation import Item
from opencharacter.storage.jsonl import read_jsonl
from opencharacter.storage.kinds import CHARACTERS

CHARACTERS_FILES = (CHARACTERS.name.removesuffix(".zst"), CHARACTERS.name)


class FileContents(NamedTuple):
    """What the files of a suite hold."""

    items: list[Item]
    characters: dict[str, CharacterProfile]


def read_contents(config: SuiteConfig, folder: Path) -> FileContents:
    """The items and characters of a suite with items of its own. Raises `UserError` naming file and line."""
    assert config.items.path is not None
    path = folder / config.items.path
    if not path.is_file():
        raise UserError(f"{folder / 'suite.yaml'}: items.path: there is no file {path}")
    known = _read_characters(folder)
    characters: dict[str, CharacterProfile] = {}
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}:{number}"
        character = _take_character(row, known, where)
        item = _item(row, character, config, where)
        if item.id in lines:
            raise UserError(f"{where}: id: '{item.id}' is also the id of line {lines[item.id]}; give each item its own")
        lines[item.id] = number
        _check_turns(item, config, where)
        items.append(item)
        if character is not None:
            characters[character.id] = character
    if not items:
        raise UserError(f"{path}: holds no items", hint="write one JSON object a line, with `turns`")
    return FileContents(items, characters)


def _read_characters(folder: Path) -> dict[str, CharacterProfile]:
    path = next((folder / name for name in CHARACTERS_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    known: dict[str, CharacterProfile] = {}
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}:{number}"
        profile = _profile(row, where)
        for name in dict.fromkeys(str(name) for name in (row.get("id"), profile.id) if name):
            if name in known:
                raise UserError(f"{where}: id: two characters have the id '{name}'")
            known[name] = profile
    return known


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for number, row in enumerate(read_jsonl(path), 1):
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: expected a JSON object, not {type(row).__name__}")
            yield row
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as JSONL: {error}") from error


def _take_character(row: dict[str, Any], known: dict[str, CharacterProfile], where: str) -> CharacterProfile | None:
    given = row.pop("character", None)
    if given is not None:
        if row.get("character_id") is not None:
            raise UserError(f"{where}: character: give either `character` or `character_id`")
        return _profile({"persona": given} if isinstance(given, str) else given, f"{where}: character")
    name = row.get("character_id")
    if name is None:
        return None
    if name not in known:
        raise UserError(f"{where}: character_id: characters.jsonl has no character '{name}'")
    return known[name]


def _profile(value: Any, where: str) -> CharacterProfile:
    try:
        return CharacterProfile.model_validate(value)
    except ValidationError as error:
        raise _explained(error, where) from error


def _item(row: dict[str, Any], character: CharacterProfile | None, config: SuiteConfig, where: str) -> Item:
    common = {"suite": config.name, "character_id": character.id if character else None}
    if row.setdefault("suite", config.name) != config.name:
        raise UserError(f"{where}: suite: is '{row['suite']}'; the suite's name is '{config.name}'")
    row.setdefault("license", config.license)
    row.setdefault("source", config.source)
    row.setdefault("id", digest([row.get("task", ""), common["character_id"], row.get("turns")])[:16])
    row.setdefault("session_id", row["id"])
    try:
        return Item.model_validate(row | common)
    except ValidationError as error:
        raise _explained(error, where) from error


def _check_turns(item: Item, config: SuiteConfig, where: str) -> None:
    roles = [turn.role for turn in item.turns]
    if not roles or roles[-1] != "user":
        raise UserError(f"{where}: turns: must end in a user turn, which the model answers")
    if "system" in roles:
        raise UserError(f"{where}: turns: must not hold a system turn; the suite's `system_prompt` makes it")
    if config.history == "own" and set(roles) != {"user"}:
        raise UserError(
            f"{where}: turns: holds an assistant turn, but the suite's `history: own` takes the model's own answers"
        )


def _explained(error: ValidationError, where: str) -> UserError:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return UserError(f"{where}: {key + ': ' if key else ''}{message}")
