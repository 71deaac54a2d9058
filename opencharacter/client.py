"""The OpenAI client with a character: everything that `openai` has, for calls that one character answers.

    from opencharacter.client import OpenCharacter

    client = OpenCharacter(base_url="http://127.0.0.1:8080/v1", api_key="none")
    ada = client.playing({"name": "Ada", "personality": "Dry and exact."}, user_name="Tom")
    answer = ada.chat.completions.create(model="opencharacter-demo", messages=[{"role": "user", "content": "Hello!"}])

`playing` returns a client of the same class. Its chat calls carry the character, streamed or not, and with the raw
response too. What a call gives in `extra_body` goes before what the client carries.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import openai

from opencharacter.characters.profile import CharacterProfile

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

_CHAT = "/chat/completions"


class _Playing:
    """What both clients share. The base classes' `copy` makes a client of the same class."""

    _played: Mapping[str, Any] = MappingProxyType({})

    def playing(
        self,
        character: CharacterProfile | Mapping[str, Any] | str | None = None,
        *,
        character_id: str | None = None,
        scenario: str | None = None,
        user_name: str | None = None,
        greeting: str | None = None,
        example_dialogue: str | None = None,
    ) -> Self:
        """A client whose chat calls are answered by a character. It shares this one's connections.

        Args:
            character: A profile, the plain fields of a Character Card, a profile's text, or a persona in a sentence.
            character_id: The id of a character that the endpoint knows, in place of `character`.
            scenario: Where the conversation takes place, and what has happened.
            user_name: What the character calls the user.
            greeting: The character's first message, where the messages do not begin with one.
            example_dialogue: How the character talks.

        Raises:
            ValueError: For a `character` together with a `character_id`.
        """
        if character is not None and character_id is not None:
            raise ValueError("give a character or the id of one, not both")
        if isinstance(character, CharacterProfile):
            character = as_field(character)
        fields = {
            "character": character,
            "scenario": scenario,
            "user_name": user_name,
            "greeting": greeting,
            "example_dialogue": example_dialogue,
        }
        headers = {"X-Character": character_id} if character_id is not None else {}
        client = self.copy(default_headers=headers)
        client._played = {name: value for name, value in fields.items() if value is not None}
        return client

    def copy(self, **options: Any) -> Self:
        """See `openai.OpenAI.copy`; the copy plays the same character."""
        client: Self = super().copy(**options)  # type: ignore[misc]
        client._played = self._played
        return client

    if not TYPE_CHECKING:
        with_options = copy

    def _with_character(self, options: "FinalRequestOptions") -> None:
        if self._played and options.url == _CHAT and isinstance(options.json_data, dict):
            options.json_data = {**options.json_data, **self._played}


class OpenCharacter(_Playing, openai.OpenAI):
    """`openai.OpenAI`, whose calls a character can answer."""

    def _prepare_options(self, options: "FinalRequestOptions") -> "FinalRequestOptions":
        self._with_character(options)
        return super()._prepare_options(options)


class AsyncOpenCharacter(_Playing, openai.AsyncOpenAI):
    """`openai.AsyncOpenAI`, whose calls a character can answer."""

    async def _prepare_options(self, options: "FinalRequestOptions") -> "FinalRequestOptions":
        self._with_character(options)
        return await super()._prepare_options(options)


def as_field(profile: CharacterProfile) -> dict[str, Any]:
    """The profile as a request holds it: without its id and origin."""
    return profile.model_dump(mode="json", exclude={"id", "provenance"}, exclude_none=True)
