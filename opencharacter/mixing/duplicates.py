"""Removal of duplicates among the rows of one character."""

from collections import Counter
from collections.abc import Sequence

from opencharacter.mixing.candidates import Candidate
from opencharacter.mixing.dedup import near_duplicates


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
    twins = near_duplicates(answers, similarity)
    dropped["near_duplicate"] += len(twins)
    return [row for place, row in enumerate(rows) if place not in twins]
