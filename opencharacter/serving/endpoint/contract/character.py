"""The forms of a character: a profile, its text, a bare persona, a Character Card's plain fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from pydantic import ValidationError

from opencharacter.characters import is_profile_text, parse_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.errors import OpenCharacterError
from opencharacter.serving.endpoint.api_errors import ApiError, invalid
from opencharacter.serving.endpoint.contract.fields import Fields, Rule
from opencharacter.serving.endpoint.contract.messages import Speakers, check_line

MAX_CHARACTER_TEXT = 64 << 10
"""Characters of all texts of a character together, counted before anything is parsed."""

_MAX_KEYS = 64
_LINES = ("name", "age", "gender", "race", "birth_place")
_FILLED = ("scenario", "example_dialogue", "greeting", "instructions", "closing")
_OWN = ("scenario", "example_dialogue", "greeting", "user_name")
_PROFILE_KEYS = frozenset(CharacterProfile.model_fields)
_MACRO = re.compile(r"\{\{(char|user|original)\}\}|<(bot|user)>", re.IGNORECASE)
_START = re.compile(r"<START>", re.IGNORECASE)

CARD_FIELDS: dict[str, Rule] = {
    "description": Rule("translated", "joins the persona"),
    "scenario": Rule("translated", "stands after the profile"),
    "first_mes": Rule("translated", "is the greeting"),
    "greeting": Rule("translated", "the assistant's first message, where the history has none"),
    "mes_example": Rule("translated", "is the example dialogue; `<START>` separates dialogues"),
    "example_dialogue": Rule("translated", "stands after the scenario"),
    "system_prompt": Rule("translated", "stands after the profile; `{{original}}` is the prompt before it"),
    "post_history_instructions": Rule("translated", "stands at the end of the user's last message"),
    **{
        name: Rule("dropped", "is not for the model, or belongs to the card's file")
        for name in (
            "alternate_greetings", "assets", "avatar", "character_book", "character_version", "chat", "create_date",
            "creation_date", "creator", "creator_notes", "creator_notes_multilingual", "creatorcomment", "extensions",
            "fav", "group_only_greetings", "modification_date", "nickname", "source", "tags", "talkativeness",
        )
    },
    "data": Rule("refused", "is the content of a card's file: send the fields in it"),
    "spec": Rule("refused", "is the frame of a card's file: send the fields in 'data'"),
    "spec_version": Rule("refused", "is the frame of a card's file: send the fields in 'data'"),
}  # fmt: skip
"""The rule of each key of a character that is not a profile's own. Other keys are refused."""

_TARGETS = {
    "description": "description",
    "scenario": "scenario",
    "first_mes": "greeting",
    "greeting": "greeting",
    "mes_example": "example_dialogue",
    "example_dialogue": "example_dialogue",
    "system_prompt": "instructions",
    "post_history_instructions": "closing",
}


@dataclass(frozen=True)
class Character:
    """Who is played, and what belongs to it besides the profile."""

    profile: CharacterProfile | None = None
    scenario: str = ""
    example_dialogue: str = ""
    greeting: str = ""
    instructions: str = ""
    closing: str = ""
    """Stands after the history."""
    library_id: str | None = None
    user_name: str = ""
    is_card: bool = False
    """Whether macros in the profile's texts are filled; a profile's own text is data, braces included."""

    @property
    def id(self) -> str | None:
        """What logs and metrics call it."""
        return self.library_id or (self.profile.id if self.profile else None)

    @cached_property
    def speakers(self) -> Speakers:
        """What the two speakers are called where a text has to name them."""
        name = self.profile.name if self.profile else None
        return Speakers(self.user_name or "User", name or "Character")

    def filled(self) -> "Character":
        """With `{{char}}` and `{{user}}` replaced, in one pass, so that names are never read as macros.

        Raises `ApiError` (422) where that makes more text than a character may have.
        """
        texts: dict[str, Any] = {name: self._fill(getattr(self, name)) for name in _FILLED}
        profile = self.profile
        if self.is_card and profile:
            filled = {name: self._fill(getattr(profile, name) or "") or None for name in ("persona", "personality")}
            profile = profile.model_copy(update=filled)
        character = replace(self, profile=profile, **texts)
        if (size := sum(len(text) for _, text in character.texts())) > MAX_CHARACTER_TEXT:
            raise _too_long("character", size)
        return character

    def texts(self) -> list[tuple[str, str]]:
        """Every text that gets into the prompt, with its path."""
        texts = [(name, getattr(self, name)) for name in (*_FILLED, "user_name") if getattr(self, name)]
        if self.profile:
            for name in _PROFILE_KEYS - {"provenance"}:
                if value := getattr(self.profile, name):
                    texts.append((f"character.{name}", value))
        return texts

    def _fill(self, text: str) -> str:
        if "{{" not in text and "<" not in text:
            return text
        values = {"char": self.speakers.character, "bot": self.speakers.character, "user": self.speakers.user}
        return _MACRO.sub(lambda match: values.get((match[1] or match[2]).lower(), ""), text).strip()


class Characters(Protocol):
    """The characters that a request may name by id."""

    def ids(self) -> list[str]:
        """The ids, sorted."""

    def get(self, character_id: str) -> Character | None:
        """The character of that id, where there is one."""

    def refresh(self) -> list[str]:
        """Read what changed; returns a line for each problem."""


def read_character(value: Any, fields: Fields, *, strict: bool) -> Character:
    """Read a character of a request or of a file.

    Args:
        value: A profile or card as an object; a profile's text, or else a persona, as a text.
        fields: Notes what is left out.
        strict: Whether only profiles and their text are read.

    Raises:
        ApiError: 422 with the path of what is wrong.
    """
    _check_size(value)
    if isinstance(value, str):
        return Character(_from_text(value, strict))
    if not isinstance(value, dict):
        raise invalid("character", "is neither an object nor a text")
    if len(value) > _MAX_KEYS:
        raise invalid("character", f"has {len(value)} keys; at most {_MAX_KEYS} are allowed")
    # The id is computed, and where a profile came from never gets into a prompt.
    given = {key: part for key, part in value.items() if part is not None and key not in ("id", "provenance")}
    profile = {key: part for key, part in given.items() if key in _PROFILE_KEYS}
    if len(profile) == len(given):
        return Character(_profile(profile))
    return _from_card(profile, {key: part for key, part in given.items() if key not in profile}, fields, strict)


def read_own_fields(request: Mapping[str, Any], character: Character) -> Character:
    """The character with the request's own scenario, example dialogue, greeting and name of the user.

    Raises `ApiError` (422) for one that is not a text, or too long.
    """
    own = {name: _text(request[name], name) for name in _OWN if request.get(name) is not None}
    if not own:
        return character
    if sum(map(len, own.values())) > MAX_CHARACTER_TEXT:
        raise _too_long(", ".join(own), sum(map(len, own.values())))
    if "user_name" in own:
        check_line(own["user_name"], "user_name")
    if "example_dialogue" in own:
        own["example_dialogue"] = _dialogue(own["example_dialogue"])
    changes: dict[str, Any] = dict(own)
    return replace(character, **changes)


def _from_text(text: str, strict: bool) -> CharacterProfile:
    if not strict and not is_profile_text(text):
        return _profile({"persona": text})
    try:
        profile = parse_profile(text)
    except OpenCharacterError as error:
        raise invalid("character", str(error)) from error
    return _checked(profile)


def _from_card(profile: dict[str, Any], others: dict[str, Any], fields: Fields, strict: bool) -> Character:
    texts: dict[str, str] = {}
    for key, value in others.items():
        rule = CARD_FIELDS.get(key)
        path = f"character.{key}"
        if rule is None or strict:
            raise invalid(path, f"is not a field of a profile; known: {', '.join(CharacterProfile.model_fields)}")
        if rule.use == "refused":
            raise invalid(path, f"is not accepted: {rule.note}")
        if rule.use == "dropped":
            fields.drop(path)
        elif text := _text(value, path):
            texts[_TARGETS[key]] = text
    description = texts.pop("description", "")
    if description:
        profile["persona"] = "\n\n".join(filter(None, (profile.get("persona"), description)))
    if dialogue := texts.get("example_dialogue"):
        texts["example_dialogue"] = _dialogue(dialogue)
    return Character(_profile(profile), is_card=True, **texts)


def _profile(values: dict[str, Any]) -> CharacterProfile:
    try:
        return _checked(CharacterProfile.model_validate(values))
    except ValidationError as error:
        raise _as_api_error(error) from error


def _checked(profile: CharacterProfile) -> CharacterProfile:
    for name in _LINES:
        if value := getattr(profile, name):
            check_line(value, f"character.{name}", limit=500)
    return profile


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid(path, "is not a text")
    if "\0" in value:
        raise invalid(path, "holds a NUL character")
    return value.strip()


def _dialogue(text: str) -> str:
    return "\n\n".join(part for part in map(str.strip, _START.split(text)) if part)


def _check_size(value: Any) -> None:
    texts = value.values() if isinstance(value, dict) else [value]
    size = sum(len(text) for text in texts if isinstance(text, str))
    if size > MAX_CHARACTER_TEXT:
        raise _too_long("character", size)


def _too_long(path: str, size: int) -> ApiError:
    return invalid(path, f"has {size} characters; at most {MAX_CHARACTER_TEXT} are allowed")


def _as_api_error(error: ValidationError) -> ApiError:
    problem = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(["character", *map(str, problem["loc"])])
    return invalid(path, problem["msg"].removeprefix("Value error, "))
