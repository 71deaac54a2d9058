"""What profiles share with the worked example that their teacher saw."""

import json
from collections import Counter

from opencharacter.characters.names import first_name
from opencharacter.characters.profile import CharacterProfile
from opencharacter.generation.replies import PromptEcho
from opencharacter.synthesis.profile_prompt import ProfilePrompt

_WORDS_IN_A_ROW = 5
"""Fewer than make an answer an echo of the prompt, which is rejected."""


class ExampleOverlap:
    """Counts profiles that have the first name of their example, or five words in a row of it."""

    def __init__(self, prompt: ProfilePrompt) -> None:
        self._prompt = prompt
        self._names = {example: _name_of(example.answer) for example in prompt.shown}
        self._words = {example: PromptEcho(example.answer, words=_WORDS_IN_A_ROW) for example in prompt.shown}
        self._counts = Counter({"first_name": 0, "words": 0})

    def add(self, profile: CharacterProfile) -> None:
        """Count a profile that was made of its persona."""
        example = self._prompt.example(profile.persona or "")
        self._counts["first_name"] += first_name(profile.name or "") == self._names[example]
        texts = (profile.appearance, profile.experience, profile.personality)
        self._counts["words"] += any(text in self._words[example] for text in texts if text)

    def dump(self) -> dict[str, int]:
        """Profiles by what they share."""
        return dict(self._counts)


def _name_of(answer: str) -> str | None:
    try:
        return first_name(str(json.loads(answer)["name"]))
    except (ValueError, KeyError, TypeError):
        return None
