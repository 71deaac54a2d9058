"""What a judge is checked with: answers of an evaluation, or the packaged ones."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation.judges.sampling import spread
from opencharacter.records.evaluation import AnswerRow
from opencharacter.records.models import Turn

PACKAGED = "the packaged answers"
_FILE = "judge_check.jsonl"


@dataclass(frozen=True)
class CheckItem:
    """A question, and what the models answered in character."""

    suite: str
    id: str
    repeat: int
    session: str
    character: CharacterProfile
    character_id: str
    conversation: Sequence[Turn]
    answers: Mapping[str, str]
    """By model."""


def packaged_items() -> list[CheckItem]:
    """Questions to characters of our own, each with two good answers by different hands (CC0)."""
    text = (resources.files("opencharacter.data") / _FILE).read_text(encoding="utf-8")
    items = []
    for number, line in enumerate(text.splitlines(), 1):
        row = json.loads(line)
        conversation = [Turn(role="user", content=row["question"])]
        answers = {f"hand {place}": answer for place, answer in enumerate(row["answers"], 1)}
        character = CharacterProfile.model_validate(row["character"])
        items.append(CheckItem(_FILE, f"{number}", 0, f"{number}", character, character.id, conversation, answers))
    return items


def items_of(
    answers: Iterable[AnswerRow],
    characters: Mapping[str, CharacterProfile],
    count: int,
    seed: int,
    *,
    labelled: Container[tuple[str, int]] = (),
) -> list[CheckItem]:
    """A seeded sample of an evaluation's items, spread over characters, with what all models answered.

    Items that are `labelled` (id and repeat) are all in it, whatever `count` is. Raises `UserError` if no character has
    answered.
    """
    groups: dict[tuple[str, int], list[AnswerRow]] = {}
    for row in answers:
        if row.answer is not None and row.character_id in characters:
            groups.setdefault((row.question_id, row.repeat), []).append(row)
    if not groups:
        raise UserError(
            "there is no answer in character to check a judge with",
            hint="evaluate a suite with characters, or leave the suite out: packaged answers are taken then",
        )
    needed = [rows for key, rows in groups.items() if key in labelled]
    chosen = needed + spread(
        [rows for key, rows in groups.items() if key not in labelled],
        max(0, count - len(needed)),
        seed,
        name=lambda rows: f"{rows[0].question_id} {rows[0].repeat}",
        group=lambda rows: rows[0].character_id or "",
    )
    return [
        CheckItem(
            rows[0].suite,
            rows[0].question_id,
            rows[0].repeat,
            rows[0].session_id,
            characters[rows[0].character_id or ""],
            rows[0].character_id or "",
            rows[0].conversation,
            {row.model: row.answer or "" for row in rows},
        )
        for rows in chosen
    ]
