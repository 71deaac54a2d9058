"""What synthesis counted besides rows: names that return, what profiles share with examples, answers that were cut."""

from collections import Counter
from typing import Any

from opencharacter.characters.names import first_name
from opencharacter.characters.profile import CharacterProfile
from opencharacter.storage.workspace import Artifact

_NAMES_SHOWN = 5
_OF_ANSWERS = {
    "cut_answers": "cut to their whole sentences",
    "unchanged_answers": "the same as the source's",
    "in_character_refusals": "dialogues in which a harmful request is turned down in character",
}


class NameCounter:
    """Counts the first names of characters."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def add(self, character: CharacterProfile) -> None:
        """Count a character who has a name."""
        if character.name:
            self._times[first_name(character.name)] += 1

    def dump(self) -> dict[str, Any]:
        """How many names and characters there are, and the names that return most."""
        frequent = [(name, times) for name, times in self._times.most_common(_NAMES_SHOWN) if times > 1]
        return {"different": len(self._times), "characters": self._times.total(), "frequent": frequent}


def answer_counts(dialogues: Artifact) -> list[tuple[str, int]]:
    """What became of answers, as label and count; an imported data set has no counts."""
    return [(label, dialogues.stats[key]) for key, label in _OF_ANSWERS.items() if key in dialogues.stats]
