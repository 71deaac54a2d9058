"""Characters and questions that no run trains on: those of the suites that compare models (docs/suites.md).

A model that was trained on them would be measured on what it has learned by heart. They are recognised by their texts,
less case, spacing, punctuation and Unicode form.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

from opencharacter.characters import ATTRIBUTES, CharacterProfile, render_profile
from opencharacter.hashing import digest, text_digest
from opencharacter.records.models import Turn

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


@functools.cache
def packaged_texts() -> FrozenTexts:
    """The texts of the packaged suites."""
    root = resources.files("opencharacter.suites")
    folders = [root / name for name in SUITES]
    characters = [
        CharacterProfile.model_validate(row) for folder in folders for row in _rows(folder, "characters.jsonl")
    ]
    items = [row for folder in folders for row in _rows(folder, "items.jsonl")]
    return FrozenTexts(characters, ([Turn.model_validate(turn) for turn in item["turns"]] for item in items))


def _rows(folder: Any, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


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
