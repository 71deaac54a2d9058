"""A program checks each answer: the score is the share of the item's checks that pass."""

from collections.abc import Sequence

from opencharacter.evaluation.measures.check_kinds import AnyCheck, failed_kinds, parse_checks
from opencharacter.evaluation.measures.protocol import (
    Asking,
    MeasureBase,
    Measured,
    Work,
    is_judged,
    row_identity,
    unjudged,
)
from opencharacter.evaluation.suite_config import ChecksMeasure as ChecksSettings
from opencharacter.records.evaluation import AnswerRow, Item, ScoreRow

METRIC = "checks"
"""The metric of an item without a task."""


class ChecksMeasure(MeasureBase[ChecksSettings]):
    """One row an answer. Its metric is the item's task."""

    needs_judges = False

    def takes(self, item: Item) -> bool:
        """See `MeasureBase.takes`."""
        return super().takes(item) and bool(item.checks)

    def check_item(self, item: Item, where: str) -> None:
        """See `MeasureBase.check_item`."""
        parse_checks(item.checks, where)

    def measure(self, work: Work) -> Asking[Measured]:
        """Check every answer; nothing is asked."""
        yield from ()
        checks = {item.id: parse_checks(item.checks, item.id) for item in work.items}
        return Measured([_score(work, answer, checks[answer.question_id]) for answer in work.answers])


def _score(work: Work, answer: AnswerRow, checks: Sequence[AnyCheck]) -> ScoreRow:
    item = work.item_of(answer)
    row = {
        **row_identity(work.suite, item),
        "model": answer.model,
        "repeat": answer.repeat,
        "metric": item.task or METRIC,
    }
    if not is_judged(work, answer):
        return ScoreRow(**row, **unjudged(answer))
    failed = failed_kinds(checks, answer.answer or "")
    note = f"failed: {', '.join(failed)}" if failed else None
    return ScoreRow(**row, status="ok", score=1 - len(failed) / len(checks), note=note)
