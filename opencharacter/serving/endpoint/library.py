"""The characters that a request may name by their id: files of a folder, which a ConfigMap may be."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.character import MAX_CHARACTER_TEXT, Character, read_character
from opencharacter.serving.endpoint.contract.fields import Fields

_SUFFIXES = (".json", ".txt")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_FILE_BYTES = 4 * MAX_CHARACTER_TEXT


class _File(NamedTuple):
    """A file as it was last read."""

    state: tuple[int, int, int]
    character: Character


class CharacterLibrary:
    """Characters by id, from the files `ID.json` (a profile or a card's fields) and `ID.txt` of a folder.

    Empty without a folder. `refresh` reads what changed; a request never waits for a file.
    """

    def __init__(self, folder: Path | None = None, check: Callable[[Character], None] | None = None) -> None:
        """Read the folder.

        Args:
            folder: Of the files.
            check: Raises `ApiError` for a character that the served model cannot have.

        Raises:
            UserError: The message names the files that are wrong.
        """
        self._folder = folder
        self._check = check or (lambda _: None)
        self._files: dict[Path, _File] = {}
        self._characters: dict[str, Character] = {}
        self._ids: list[str] = []
        problems = self.refresh()
        if problems:
            raise UserError("\n".join(problems), hint="a file holds one character: a profile, or a card's plain fields")

    def ids(self) -> list[str]:
        """The ids, sorted."""
        return self._ids

    def get(self, character_id: str) -> Character | None:
        """The character of that id, where there is one."""
        return self._characters.get(character_id)

    def refresh(self) -> list[str]:
        """Read the files that are new or changed; a file that is now wrong leaves its character as it was.

        Returns a line for each problem. Safe to call from another thread: the requests see the old or the new library.
        """
        if self._folder is None:
            return []
        files: dict[Path, _File] = {}
        characters: dict[str, Character] = {}
        problems: list[str] = []
        for path in self._paths(problems):
            try:
                file = self._read(path)
            except UserError as error:
                problems.append(str(error))
                if path not in self._files:
                    continue
                file = self._files[path]
            if path.stem in characters:
                problems.append(f"{path}: another file has the id '{path.stem}'")
                continue
            files[path], characters[path.stem] = file, file.character
        self._files, self._characters, self._ids = files, characters, sorted(characters)
        return problems

    def _paths(self, problems: list[str]) -> list[Path]:
        assert self._folder is not None
        try:
            # A mounted ConfigMap has hidden folders beside its files.
            return sorted(
                path for path in self._folder.iterdir() if path.suffix in _SUFFIXES and not path.name.startswith(".")
            )
        except OSError as error:
            problems.append(f"{self._folder}: cannot be read as a folder of characters: {error.strerror}")
            return list(self._files)

    def _read(self, path: Path) -> _File:
        if not _ID.fullmatch(path.stem):
            raise UserError(f"{path}: '{path.stem}' is no id: letters, digits, '.', '_' and '-', at most 63 of them")
        try:
            status = path.stat()
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._files.get(path)
            if known and known.state == state:
                return known
            if status.st_size > _MAX_FILE_BYTES:
                raise UserError(f"{path}: has {status.st_size} bytes; at most {_MAX_FILE_BYTES} are allowed")
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
        return _File(state, self._parse(path, text))

    def _parse(self, path: Path, text: str) -> Character:
        value: Any = text
        if path.suffix == ".json":
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: not valid JSON: {error}") from error
        try:
            character = read_character(value, Fields({}, []), strict=False)
            self._check(character)
        except ApiError as error:
            raise UserError(f"{path}: {error.message}") from error
        return replace(character, library_id=path.stem)
