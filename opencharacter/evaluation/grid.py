"""The suite `grid`: a seeded sample of every cell of a run's split grid, each row with a wrong character."""

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import EvaluateConfig, JudgeConfig
from opencharacter.evaluation.suite import Suite
from opencharacter.evaluation.suite_config import AnswerConfig, Measure, RubricMeasure
from opencharacter.evaluation.suites import load_suite
from opencharacter.hashing import digest, seed64
from opencharacter.records.evaluation import GRID, Item
from opencharacter.records.models import HELD_OUT_CELLS, Cell, TrainingRow
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.kinds import CELLS as MIXTURE_CELLS
from opencharacter.storage.kinds import CHARACTERS, mixture_template
from opencharacter.storage.workspace import Artifact
from opencharacter.templates import Template

JUDGED = "judged"
"""Tag of the items whose answers are judged."""

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


class Grid(NamedTuple):
    """What a mixture's rows ask."""

    items: list[Item]
    characters: dict[str, CharacterProfile]


def grid_suite(config: EvaluateConfig, mixture: Artifact, seed: int) -> Suite:
    """The suite `grid` for the held-out rows of a mixture, which are read when they are needed.

    Raises `UserError` if the mixture is read, and has no rows at all or was rendered with another system prompt
    template.
    """
    suite = load_suite(GRID)
    measures = [_as_configured(settings, config.judge) for settings in suite.config.measures]
    changes: dict[str, Any] = {"measures": tuple(settings for settings in measures if settings is not None)}
    if config.judge is not None:
        changes["answer"] = AnswerConfig(**config.judge.answer_sampling.model_dump())
    limits = [config.rows_per_cell, config.train_rows, config.judge and config.judge.questions_per_cell]
    return suite.with_items(
        suite.config.model_copy(update=changes),
        lambda: pick_items(config, mixture, seed),
        digest({"mixture": mixture.digest, "limits": limits, "seed": seed}),
    )


def _as_configured(settings: Measure, judge: JudgeConfig | None) -> Measure | None:
    if not isinstance(settings, RubricMeasure):
        return settings
    if judge is None:
        return None
    tasks = {task: file for task, file in settings.tasks.items() if task in judge.dimensions}
    return settings.model_copy(update={"tasks": tasks, **judge.judge_sampling.model_dump()})


def pick_items(config: EvaluateConfig, mixture: Artifact, seed: int) -> Grid:
    """The items of all cells, each cell's in a seeded order that does not depend on how many are taken.

    Those that a judge sees have the tag `judged`. Raises `UserError` if the mixture has no rows at all, or was rendered
    with another system prompt template.
    """
    limits = dict.fromkeys(HELD_OUT_CELLS, config.rows_per_cell) | {"train": config.train_rows}
    profiles = {profile.id: profile for profile in CHARACTERS.read(mixture)}
    template = mixture_template(mixture)
    items: list[Item] = []
    for side in _SIDES:
        picked: list[TrainingRow] = []
        present: set[str] = set()
        for cell in side:
            picked += _sample(mixture.file(MIXTURE_CELLS[cell].name), limits[cell], seed, present)
        pool = sorted(present)
        items += [_item(row, profiles, pool, seed, template) for row in picked]
    if not items:
        raise UserError(f"{mixture.uri}: every cell of the split grid is empty", hint="mix more rows")
    if config.judge is not None:
        _tag_judged(items, config.judge.questions_per_cell)
    shown = {name for item in items for name in (item.character_id, item.wrong_character_id) if name}
    return Grid(items, {name: profiles[name] for name in sorted(shown)})


def pick_smoke_question(items: Sequence[Item], characters: Mapping[str, CharacterProfile]) -> dict[str, object] | None:
    """What a freshly deployed model is asked: `{"character": {...}, "question": "..."}`, at most 16,000 bytes of JSON.

    The first user turn of the first item that has a character and fits, out of the cell that the model knows least.
    None if no item fits.
    """
    for cell in _SMOKE_CELLS:
        for item in items:
            if item.cell != cell or item.character_id is None:
                continue
            text = next(turn.content for turn in item.turns if turn.role == "user")
            profile = characters[item.character_id].model_dump(exclude={"id", "provenance"}, exclude_none=True)
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


def _item(
    row: TrainingRow, profiles: dict[str, CharacterProfile], pool: list[str], seed: int, template: Template
) -> Item:
    played = row.character_id is not None and row.prompt_view != "none"
    if row.character_id is not None and row.prompt_view != "none":
        system = system_prompt(profiles[row.character_id], row.prompt_view, template)
        content = row.messages[0].content
        if content != system and not (row.after_profile != "none" and content.startswith(f"{system}\n\n")):
            raise UserError(
                f"row {row.row_id}: its system message is not what the mixture's template makes of its character",
                hint="the mixture was made with another template; run the mix step again",
            )
    turns = [turn for turn in row.messages if turn.role != "system"]
    last = max(place for place, turn in enumerate(turns) if turn.role == "user")
    return Item(
        id=row.row_id,
        suite=GRID,
        character_id=row.character_id,
        session_id=row.session_id,
        cell=row.cell,
        view=row.prompt_view,
        turns=turns[: last + 1],
        reference=turns[last + 1].content if last + 1 < len(turns) else None,
        wrong_character_id=_wrong_character(row, pool, seed) if played else None,
        source=row.source,
        license=row.licence,
    )


def _wrong_character(row: TrainingRow, pool: list[str], seed: int) -> str | None:
    others = [character for character in pool if character != row.character_id]
    return others[seed64(seed, "swap", row.row_id) % len(others)] if others else None


def _tag_judged(items: Sequence[Item], per_cell: int) -> None:
    """Tag the first items of each held-out cell; a session and character in both R and G count once."""
    chosen: set[tuple[str, str]] = set()
    room = {str(cell): per_cell for cell in HELD_OUT_CELLS}
    for item in items:
        key = (item.session_id, item.character_id or "")
        if item.character_id and item.view != "none" and key not in chosen and room.get(str(item.cell), 0) > 0:
            chosen.add(key)
            item.tags.append(JUDGED)
            room[str(item.cell)] -= 1
