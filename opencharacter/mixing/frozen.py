"""Characters and questions that no run trains on: those of the suites that compare models (docs/suites.md).

They are those of the packaged suites, and of the suites that a run names. A model that was trained on them would be
measured on what it has learned by heart. They are recognised by their texts, less case, spacing, punctuation and
Unicode form.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from opencharacter.characters import ATTRIBUTES, CharacterProfile, render_profile
from opencharacter.errors import UserError
from opencharacter.hashing import digest, text_digest
from opencharacter.records.models import Turn
from opencharacter.sources.hub import HUB_SCHEME, fetch_dataset_folder
from opencharacter.storage.artifacts import local_path
from opencharacter.storage.jsonl import read_jsonl
from opencharacter.storage.kinds import CHARACTERS
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import fetch_folder
from opencharacter.yaml_files import load_document, read_text

_Row = TypeVar("_Row", bound=BaseModel)

SUITES = ("frozen", "safety", "assistant", "scenes")
"""The packaged suites whose characters and questions are kept out of training."""
CHARACTER = "frozen_character"
SESSION = "frozen_session"
"""The reasons for which a row is dropped."""

_SHORTEST = 40
"""Characters. A shorter text ("Tell me more.") is said by many people; it counts only as the whole of a session."""


class FrozenTexts:
    """Hashes of the texts that must not be trained on."""

    def __init__(self, characters: Iterable[CharacterProfile], conversations: Iterable[Iterable[Turn]]) -> None:
        self._characters = {text for character in characters for text in _texts_of(character)}
        self._sessions = {text for turns in conversations for text in _questions_of(turns)}

    def holds_character(self, character: CharacterProfile) -> bool:
        """Whether a character is one of them: by its persona, its profile, or a long attribute of it."""
        return not self._characters.isdisjoint(_texts_of(character))

    def holds_session(self, turns: Iterable[Turn]) -> bool:
        """Whether a conversation asks what they ask: in all its user turns, or in one that is long enough to tell."""
        return not self._sessions.isdisjoint(_questions_of(turns))

    @property
    def digest(self) -> str:
        """What a mixture's key depends on."""
        return digest([sorted(self._characters), sorted(self._sessions)])


class _Items(BaseModel):
    path: str | None = None


class _Suite(BaseModel):
    """What is read of a `suite.yaml`."""

    items: _Items


class _Item(BaseModel):
    """What is read of an item: its questions, and the character that is written into it."""

    turns: list[Turn]
    character: CharacterProfile | str | None = None


def frozen_texts(suites: Iterable[str] = ()) -> FrozenTexts:
    """The texts of the packaged suites, and of further ones: folders, `s3://` prefixes or `hf://` ids.

    Raises `UserError` if a suite is not there, or a line of it is no item or character.
    """
    folders = [*_packaged_folders(), *(_fetched(suite) for suite in suites)]
    characters: list[CharacterProfile] = []
    conversations: list[list[Turn]] = []
    for folder in folders:
        for item in _read(_items_file(folder), _Item):
            conversations.append(item.turns)
            if isinstance(item.character, CharacterProfile):
                characters.append(item.character)
            elif item.character:
                characters.append(CharacterProfile(persona=item.character))
        for name in (CHARACTERS.name.removesuffix(".zst"), CHARACTERS.name):
            if (folder / name).is_file():
                characters += _read(folder / name, CharacterProfile)
    return FrozenTexts(characters, conversations)


def _packaged_folders() -> Iterator[Path]:
    root = resources.files("opencharacter.suites")
    assert isinstance(root, Path)
    return (root / name for name in SUITES)


def _fetched(suite: str) -> Path:
    if suite.startswith(OBJECT_SCHEME):
        return fetch_folder(suite)
    if suite.startswith(HUB_SCHEME):
        return fetch_dataset_folder(suite)
    return local_path(suite).expanduser()


def _items_file(folder: Path) -> Path:
    suite = folder / "suite.yaml"
    hint = "mix.frozen_suites names folders of suites, as evaluate.suites does"
    items = load_document(_Suite, read_text(suite, hint=hint), str(suite), hint=hint).items
    if items.path is None:
        raise UserError(f"{suite}: items.path: the suite has no items of its own that could be kept out", hint=hint)
    if not (folder / items.path).is_file():
        raise UserError(f"{suite}: items.path: there is no file {folder / items.path}", hint=hint)
    return folder / items.path


def _read(path: Path, kind: type[_Row]) -> Iterator[_Row]:
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            yield kind.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ": ".join([f"{path}:{number}", ".".join(map(str, first["loc"]))])
            raise UserError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def _texts_of(character: CharacterProfile) -> Iterator[str]:
    values = (character.persona, *(getattr(character, name) for name in ATTRIBUTES))
    long = [text for value in values if value is not None and len(text := _plain(value)) >= _SHORTEST]
    whole = _plain(f"{character.persona or ''} {render_profile(character)}")
    return map(text_digest, [whole, *long])


def _questions_of(turns: Iterable[Turn]) -> Iterator[str]:
    asked = [_plain(turn.content) for turn in turns if turn.role == "user"]
    return map(text_digest, ["\n".join(asked), *(text for text in asked if len(text) >= _SHORTEST)])


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
