"""The questions: a seeded sample of every cell of the split grid, each row with a wrong character for comparison."""

import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.hashing import digest, seed64
from opencharacter.records.models import HELD_OUT_CELLS, Cell, TrainingRow, Turn
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.kinds import CELLS as MIXTURE_CELLS
from opencharacter.storage.kinds import CHARACTERS, mixture_template
from opencharacter.storage.workspace import Artifact
from opencharacter.templates import Template

CELLS: tuple[Cell, ...] = ("train", *HELD_OUT_CELLS)

_SIDES: tuple[tuple[Cell, ...], ...] = (
    ("train", "seen_character_held_out_session"),
    ("held_out_character_seen_session", "held_out_both"),
)
"""Cells whose characters are equally known to the tuned model: a wrong profile must not stand out by being new."""

_SMOKE_CELLS: tuple[Cell, ...] = (
    "held_out_both",
    "held_out_character_seen_session",
    "seen_character_held_out_session",
    "train",
)
_SMOKE_BYTES = 16_000
"""MLflow takes 100,000 characters for a tag, MySQL 65,535 bytes. Profiles have some 5,000."""


@dataclass(frozen=True)
class Question:
    """A row of the mixture, its character, and the same row under another character's profile."""

    row: TrainingRow
    character: CharacterProfile | None
    """None for general-instruction rows."""
    swapped: list[Turn] | None
    """The messages with the wrong system message; none without a character, or without another one to take."""

    @property
    def conversation(self) -> list[Turn]:
        """The messages up to the last user turn: what a model is asked to answer."""
        last = max(place for place, turn in enumerate(self.row.messages) if turn.role == "user")
        return self.row.messages[: last + 1]


def pick_questions(
    config: EvaluateConfig, mixture: Artifact, seed: int, template: Template | None = None
) -> list[Question]:
    """The questions of all cells, each cell's in a seeded order that does not depend on how many are taken.

    Their system messages are rendered with `template`; without one they are the mixture's own.

    Raises `UserError` if the mixture has no rows at all, or was rendered with another system prompt template.
    """
    limits = dict.fromkeys(HELD_OUT_CELLS, config.rows_per_cell) | {"train": config.train_rows}
    profiles = {profile.id: profile for profile in CHARACTERS.read(mixture)}
    templates = mixture_template(mixture), template or mixture_template(mixture)
    questions: list[Question] = []
    for side in _SIDES:
        picked: list[TrainingRow] = []
        present: set[str] = set()
        for cell in side:
            picked += _sample(mixture.file(MIXTURE_CELLS[cell].name), limits[cell], seed, present)
        pool = sorted(present)
        questions += [_question(row, profiles, pool, seed, *templates) for row in picked]
    if not questions:
        raise UserError(f"{mixture.uri}: every cell of the split grid is empty", hint="mix more rows")
    return questions


def pick_smoke_question(questions: Sequence[Question]) -> dict[str, object] | None:
    """What a freshly deployed model is asked: `{"character": {...}, "question": "..."}`, at most 16,000 bytes of JSON.

    The first user turn of the first row that has a character and fits, out of the cell that the model knows least.
    None if no row fits.
    """
    for cell in _SMOKE_CELLS:
        for question in questions:
            if question.row.cell != cell or question.character is None:
                continue
            text = next(turn.content for turn in question.row.messages if turn.role == "user")
            profile = question.character.model_dump(exclude={"id", "provenance"}, exclude_none=True)
            asked: dict[str, object] = {"character": profile, "question": text}
            if text.strip() and len(json.dumps(asked, ensure_ascii=False).encode()) <= _SMOKE_BYTES:
                return asked
    return None


def _sample(path: Path, limit: int | None, seed: int, present: set[str]) -> list[TrainingRow]:
    """The sampled rows of a cell; adds the characters of all its rows to `present`."""

    def seen() -> Iterable[TrainingRow]:
        for row in read_models(path, TrainingRow):
            if row.character_id is not None:
                present.add(row.character_id)
            yield row

    def place(row: TrainingRow) -> str:
        return digest([seed, "question", row.row_id])

    if not path.exists():
        return []
    # A training cell may hold hundreds of thousands of rows: only the sample is kept.
    return sorted(seen(), key=place) if limit is None else heapq.nsmallest(limit, seen(), key=place)


def _question(
    row: TrainingRow,
    profiles: dict[str, CharacterProfile],
    pool: list[str],
    seed: int,
    of_mixture: Template,
    template: Template,
) -> Question:
    if row.character_id is None or row.prompt_view == "none":
        return Question(row, None, None)
    own, view = profiles[row.character_id], row.prompt_view
    if row.messages[0].content != system_prompt(own, view, of_mixture):
        raise UserError(
            f"row {row.row_id}: its system message is not what the mixture's template makes of its character",
            hint="the mixture was made with another template; run the mix step again",
        )
    if template.hash != of_mixture.hash:
        system = Turn(role="system", content=system_prompt(own, view, template))
        row = row.model_copy(update={"messages": [system, *row.messages[1:]]})
    other = _wrong_character(row, pool, seed)
    if other is None:
        return Question(row, own, None)
    system = Turn(role="system", content=system_prompt(profiles[other], view, template))
    return Question(row, own, [system, *row.messages[1:]])


def _wrong_character(row: TrainingRow, pool: list[str], seed: int) -> str | None:
    others = [character for character in pool if character != row.character_id]
    return others[seed64(seed, "swap", row.row_id) % len(others)] if others else None
