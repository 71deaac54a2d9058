"""The seam for measurements: whatever yields score rows for questions and models can join the evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from opencharacter.evaluation.questions import Question
from opencharacter.records.evaluation import AnswerRow, ScoreRow
from opencharacter.records.models import Usage
from opencharacter.storage.rowstore import RowStore


@dataclass(frozen=True)
class Subject:
    """A model under evaluation."""

    name: str
    """Its role, for people."""
    reference: str
    """As the caller named it: a folder or another reference that engines know."""
    folder: Path
    """The weights on this machine."""
    digest: str


@dataclass
class Measurement:
    """What a measure found."""

    rows: list[ScoreRow] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


class Measure(Protocol):
    """One way of measuring. It keeps finished work in the store, so that a second run repeats nothing."""

    async def measure(self, questions: Sequence[Question], subjects: Sequence[Subject], store: RowStore) -> Measurement:
        """Measure every question with every model."""
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
