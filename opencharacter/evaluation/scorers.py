"""What a scorer is: anything that makes score rows for questions and models can join the evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from opencharacter.evaluation.questions import Question
from opencharacter.records.evaluation import AnswerRow, ScoreRow
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore


@dataclass(frozen=True)
class EvalModel:
    """A model under evaluation."""

    name: str
    """Its role, for people."""
    reference: str
    """As the caller gave it: a folder or another reference that engines know."""
    folder: Path
    """The weights on this machine."""
    digest: str


@dataclass
class ScorerResult:
    """What a scorer found."""

    rows: list[ScoreRow] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


class Scorer(Protocol):
    """One way to score. It keeps finished work in the store, so that a second run reuses it."""

    async def score(
        self, questions: Sequence[Question], eval_models: Sequence[EvalModel], store: RowStore
    ) -> ScorerResult:
        """Score every question with every model."""
        ...


def identity(question: Question) -> dict[str, Any]:
    """The fields by which a row names its question."""
    row = question.row
    return {
        "question_id": row.row_id,
        "character_id": row.character_id,
        "session_id": row.session_id,
        "cell": row.cell,
    }
