"""Questions to read: where the challenger won or lost most, and where judges disagree."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from opencharacter.evaluation.subjects import short_identity
from opencharacter.records.evaluation import AnswerRow, Turn
from opencharacter.reporting.evaluation.rows import Key, Measured, SuiteRows
from opencharacter.reporting.formats import CELL_LABELS, words

_SHOWN = 3
"""Samples of each sort."""
_SAID_SHOWN = 4000
"""Characters of an answer that are shown."""


@dataclass(frozen=True)
class Opinion:
    """What one judge gave, and why."""

    judge: str
    score: str
    reason: str


@dataclass(frozen=True)
class Said:
    """A model's answer, what is wrong with it (empty: nothing), and what the judges say of it."""

    model: str
    text: str
    fault: str
    opinions: list[Opinion]


@dataclass(frozen=True)
class Sample:
    """One question with the answers of all models."""

    character: str
    label: str
    note: str
    conversation: list[Turn]
    answers: list[Said]


@dataclass(frozen=True)
class Samples:
    """Samples of one sort."""

    title: str
    samples: list[Sample]


def samples(suite: SuiteRows) -> list[Samples]:
    """Largest wins, losses and disagreements, each of another character where there are enough."""
    rival = next((name for name in ("champion", "base") if name in suite.models), None)
    ours = suite.by_model.get("challenger")
    if ours is None or rival is None or not suite.answers:
        return []
    theirs = suite.by_model[rival]
    gains = {
        key: (theirs[key].score - found.score) if suite.is_lower_better(key[0]) else (found.score - theirs[key].score)
        for key, found in ours.items()
        if key in theirs and key[0] in suite.rated
    }
    quarrels = {key: max(_quarrel(found[key]) for found in suite.by_model.values() if key in found) for key in gains}
    wins = [key for key in _ranked(gains, lambda key: -gains[key]) if gains[key] > 0]
    losses = [key for key in _ranked(gains, lambda key: gains[key]) if gains[key] < 0]
    disputed = [key for key in _ranked(quarrels, lambda key: -quarrels[key]) if quarrels[key] > 0]
    sorts = [
        (f"Largest wins over the {rival}", wins, lambda key: f"{gains[key]:+.1f}"),
        (f"Largest losses to the {rival}", losses, lambda key: f"{gains[key]:+.1f}".replace("-", "−")),
        ("Judges disagree most", disputed, lambda key: f"{quarrels[key]:.0f} apart"),
    ]
    return [
        Samples(title, [_sample(suite, key, note(key)) for key in _of_many_characters(suite, keys)])
        for title, keys, note in sorts
        if keys
    ]


def _ranked(values: dict[Key, float], rank: Callable[[Key], float]) -> list[Key]:
    return sorted(values, key=lambda key: (rank(key), key))


def _of_many_characters(suite: SuiteRows, keys: list[Key]) -> Iterator[Key]:
    """The first few of different characters, then the first ones that are left."""
    seen: set[str | None] = set()
    first: list[Key] = []
    for key in keys:
        character = suite.by_model["challenger"][key].rows[0].character_id
        if character not in seen:
            seen.add(character)
            first.append(key)
        if len(first) == _SHOWN:
            break
    chosen = set(first)
    yield from (first + [key for key in keys if key not in chosen])[:_SHOWN]


def _quarrel(measured: Measured) -> float:
    scores = [row.score for row in measured.rows if row.score is not None and row.repeat == 0]
    return max(scores) - min(scores) if len(scores) > 1 else 0.0


def _sample(suite: SuiteRows, key: Key, note: str) -> Sample:
    metric, question = key
    first = suite.by_model["challenger"][key].rows[0]
    answers = [_said(suite, name, key) for name in suite.models if (name, question) in suite.answer_of]
    asked = suite.answer_of.get(("challenger", question))
    item = suite.items.get(question)
    turns = asked.conversation if asked else item.turns if item else []
    cell = CELL_LABELS[first.cell] if first.cell else ""
    character = suite.character_names.get(first.character_id or "", first.character_id or "")
    if not character or (item is not None and item.view == "none"):
        character = "No character"
    return Sample(character, " · ".join(part for part in (words(metric), cell) if part), note, list(turns), answers)


def _said(suite: SuiteRows, name: str, key: Key) -> Said:
    answer = suite.answer_of[name, key[1]]
    measured = suite.by_model[name].get(key)
    opinions = [
        Opinion(
            short_identity(row.judge) if row.judge else "program",
            f"{row.score:g}" if row.score is not None else words(row.status),
            row.note or "",
        )
        for row in (measured.rows if measured else ())
        if row.repeat == answer.repeat
    ]
    return Said(name, (answer.answer or "")[:_SAID_SHOWN], answer_fault(answer), opinions)


def answer_fault(answer: AnswerRow) -> str:
    """What is wrong with an answer, in words; empty where nothing is."""
    if not answer.answer:
        return f"no answer: {words(answer.status)}"
    if answer.is_cut:
        return "cut off at the limit of tokens"
    return "shown in part" if len(answer.answer) > _SAID_SHOWN else ""
