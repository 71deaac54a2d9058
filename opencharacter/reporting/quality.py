"""The report's section on the quality of the dialogues: what can be counted without a judge."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opencharacter.characters.profile import CharacterProfile
from opencharacter.reporting.diversity import (
    COPY_SIMILARITY,
    LENGTHS,
    Copies,
    Sample,
    Variety,
    answers_of,
    copies_between_characters,
    variety,
)
from opencharacter.reporting.profile_facts import FactCheck, FactCollector
from opencharacter.storage.kinds import CHARACTERS, DIALOGUES, SESSIONS
from opencharacter.storage.workspace import Artifact


@dataclass(frozen=True)
class Outcome:
    """Rows of one stage that ended in the same way."""

    stage: str
    reason: str
    rows: int
    share: float


@dataclass(frozen=True)
class Judged:
    """What the quality judge decided; `outcomes` hold a label, rows and their share."""

    judge: str
    threshold: int
    outcomes: list[tuple[str, int, float]]


@dataclass(frozen=True)
class QualityView:
    """Everything that the section shows."""

    outcomes: list[Outcome]
    judged: Judged | None
    dialogues: int
    sampled: int
    variety: list[Variety]
    lengths: tuple[int, ...]
    words: int
    copies: Copies
    copy_similarity: float
    facts: list[FactCheck]


def quality_view(characters: Artifact, dialogues: Artifact, sessions: Artifact | None) -> QualityView:
    """Read all dialogues once for the facts that characters state, and compare a sample of them with each other."""
    sample, facts = Sample(), FactCollector()
    for row in DIALOGUES.read_raw(dialogues):
        sample.add(row)
        facts.add(row)
    rows = sample.rows
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["strategy"]].append(answers_of(row))
    source = _source_answers(sessions, {row["session_id"] for row in rows})
    values, words = variety({"source": source, **dict(sorted(texts.items(), reverse=True))})
    profiles: Iterable[CharacterProfile] = CHARACTERS.read(characters)
    return QualityView(
        outcomes=[*_outcomes("characters", characters), *_outcomes("dialogues", dialogues)],
        judged=_judged(dialogues),
        dialogues=sample.seen,
        sampled=len(rows),
        variety=values,
        lengths=LENGTHS,
        words=words,
        copies=copies_between_characters(rows),
        copy_similarity=COPY_SIMILARITY,
        facts=facts.judge(profiles),
    )


def _judged(dialogues: Artifact) -> Judged | None:
    found = dialogues.stats.get("quality")
    if not found:
        return None
    total = sum(found["outcomes"].values())
    outcomes = [(label, rows, rows / total) for label, rows in found["outcomes"].items() if rows]
    return Judged(found["judge"], found["threshold"], outcomes)


def _source_answers(sessions: Artifact | None, ids: set[str]) -> list[str]:
    if sessions is None:
        return []
    return [answers_of(row) for row in SESSIONS.read_raw(sessions) if row["id"] in ids]


def _outcomes(stage: str, ref: Artifact) -> list[Outcome]:
    made = {"accepted": ref.counts.get("ok", 0)}
    rejected: Mapping[str, int] = ref.stats.get("rejected_by_reason") or {}
    other = ref.counts.get("rejected", 0) - sum(rejected.values())
    rows = {**made, **rejected, **({"rejected": other} if other > 0 else {})}
    total = sum(rows.values())
    return [Outcome(stage, reason, count, count / total) for reason, count in rows.items() if count and total]
