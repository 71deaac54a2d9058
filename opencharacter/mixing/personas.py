"""Characters whose personas say the same thing: one of each group stays.

It is done before the split, so that no held-out character has a near twin in training (docs/design.md, decision 11).
"""

from collections.abc import Iterable

from opencharacter.characters import render_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.mixing.dedup import near_duplicates


def find_twins(characters: Iterable[CharacterProfile], similarity: float) -> dict[str, str]:
    """The characters to drop: id of the dropped one → id of the one kept in its place (the least id of its group).

    A character without a persona text (imported or written by hand) is compared by its profile text.
    """
    ordered = sorted(characters, key=lambda character: character.id)
    texts = [character.persona or render_profile(character) for character in ordered]
    return {ordered[twin].id: ordered[kept].id for twin, kept in near_duplicates(texts, similarity).items()}
