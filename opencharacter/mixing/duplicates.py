"""Duplicates: equal and nearly equal rows of one character, characters whose personas say the same.

Personas are compared before the split, so that no held-out character has a near-duplicate in training
(docs/design.md, decision 11).
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from opencharacter.characters import render_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.mixing.candidates import Candidate
from opencharacter.similarity import near_duplicates


def remove_duplicates(group: Sequence[Candidate], similarity: float, dropped: Counter[str]) -> list[Candidate]:
    """The rows of one `Candidate.group`, in order of their ids, without duplicates, which `dropped` counts.

    Rows with the same turns are exact duplicates. Rows of one character whose answers are alike are near-duplicates,
    whatever was asked; other characters' answers to the same session are never compared, and general-instruction
    rows are removed only as exact duplicates. The least row id stays.
    """
    unique: dict[tuple[str, ...], Candidate] = {}
    for row in sorted(group, key=lambda row: row.row_id):
        unique.setdefault(tuple(turn.content.strip() for turn in row.turns), row)
    rows = list(unique.values())
    dropped["exact_duplicate"] += len(group) - len(rows)
    if rows[0].character_id is None:
        return rows
    answers = ["\n".join(turn.content for turn in row.turns if turn.role == "assistant") for row in rows]
    duplicates = near_duplicates(answers, similarity)
    dropped["near_duplicate"] += len(duplicates)
    return [row for index, row in enumerate(rows) if index not in duplicates]


def find_duplicate_personas(characters: Iterable[CharacterProfile], similarity: float) -> dict[str, str]:
    """The characters to drop: id of the dropped one → id of the one kept in its place (the least id of its group).

    A character without a persona text (imported or written by hand) is compared by its profile text.
    """
    ordered = sorted(characters, key=lambda character: character.id)
    texts = [character.persona or render_profile(character) for character in ordered]
    return {ordered[duplicate].id: ordered[kept].id for duplicate, kept in near_duplicates(texts, similarity).items()}
