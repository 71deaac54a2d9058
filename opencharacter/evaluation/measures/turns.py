"""A judge scores every answer of a conversation: how good it is, and whether it gets worse turn by turn."""

from collections import defaultdict
from dataclasses import replace
from statistics import fmean

from opencharacter.errors import UserError
from opencharacter.evaluation.measures.protocol import Asking, Measured, Work, row_identity, unjudged
from opencharacter.evaluation.measures.rubric import RubricMeasure
from opencharacter.records.evaluation import AnswerRow, Item, ScoreRow

DRIFT = "drift"
"""Metric: points of the scale a turn; below 0 the answers get worse. The slope of the mean over the tasks."""

_FEWEST_TURNS = 3
_MOST_UNJUDGED = 0.5
"""Share of a task's turns without a score, above which the conversation has none."""


class TurnsMeasure(RubricMeasure):
    """Rows of the tasks and of `drift`, one a conversation and judge.

    A turn that the model did not answer, and each one after it, counts as the lowest score. The judgements name their
    turn.
    """

    def check_item(self, item: Item, where: str) -> None:
        """See `MeasureBase.check_item`."""
        if len(item.turns) < _FEWEST_TURNS:
            raise UserError(
                f"{where}: turns: a slope needs {_FEWEST_TURNS} user turns or more, here are {len(item.turns)}",
                hint="add turns, or measure the suite with the kind `rubric`",
            )

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask each judge about each answer of each conversation."""
        turns = {
            (row.model, row.question_id, row.repeat, number): (row, turn)
            for row in work.answers
            for number, turn in enumerate(answers_in(row), 1)
        }
        items = {
            _turn_id(item.id, number): item.model_copy(update={"id": _turn_id(item.id, number)})
            for item in work.items
            for number in range(1, len(item.turns) + 1)
        }
        by_turn = yield from super().measure(
            replace(
                work,
                items=list(items.values()),
                answers=[
                    turn.model_copy(update={"question_id": _turn_id(name, number)})
                    for (_, name, _, number), (_, turn) in turns.items()
                ],
            )
        )
        found = Measured()
        for judgement in by_turn.judgements:
            name, number = _of_turn(judgement.question_id)
            found.judgements.append(judgement.model_copy(update={"question_id": name, "turn": number}))
        groups: dict[tuple[str, str, int, str], dict[str, dict[int, ScoreRow]]] = defaultdict(lambda: defaultdict(dict))
        for score in by_turn.scores:
            name, number = _of_turn(score.question_id)
            groups[score.model, name, score.repeat, score.judge or ""][score.metric][number] = score
        for row in work.answers:
            item = work.item_of(row)
            for judge in work.judges:
                scored = groups[row.model, item.id, row.repeat, judge.identity]
                found.scores += self._scores(work, row, item, judge.identity, scored)
        return found

    def _scores(
        self, work: Work, row: AnswerRow, item: Item, judge: str, scored: dict[str, dict[int, ScoreRow]]
    ) -> list[ScoreRow]:
        about = {**row_identity(work.suite, item), "model": row.model, "repeat": row.repeat, "judge": judge}
        tasks = [item.task] if item.task else list(self.settings.tasks)
        if row.status == "engine_failure" or not scored:
            return [ScoreRow(**about, metric=metric, **unjudged(row)) for metric in (*tasks, DRIFT)]
        rows, curves = [], []
        for task in tasks:
            points = self._points(scored[task], len(item.turns))
            if len(points) < len(item.turns) * (1 - _MOST_UNJUDGED):
                failed = next(each for each in scored[task].values() if each.score is None)
                rows.append(ScoreRow(**about, metric=task, status=failed.status, note=failed.note))
                continue
            curves.append(points)
            rows.append(ScoreRow(**about, metric=task, status="ok", score=fmean(points.values())))
        if not curves:
            return [*rows, ScoreRow(**about, metric=DRIFT, status=rows[0].status, note=rows[0].note)]
        mean = {turn: fmean(curve[turn] for curve in curves if turn in curve) for turn in sorted(set().union(*curves))}
        shown = ", ".join(f"{value:g}" for value in mean.values())
        return [*rows, ScoreRow(**about, metric=DRIFT, status="ok", score=slope(mean), note=f"by turn: {shown}")]

    def _points(self, rows: dict[int, ScoreRow], turns: int) -> dict[int, float]:
        """The score of each turn; the lowest one for those that the model did not answer."""
        low = float(self.settings.scale[0])
        asked = {turn: row.score for turn, row in rows.items() if row.score is not None}
        return asked | {turn: low for turn in range(1, turns + 1) if turn not in rows}


def answers_in(row: AnswerRow) -> list[AnswerRow]:
    """Each answer of a conversation as a row of its own, whose conversation ends where it was asked for."""
    answers = []
    for place, turn in enumerate(row.conversation):
        if turn.role == "assistant":
            before = row.conversation[:place]
            answers.append(row.model_copy(update={"conversation": before, "answer": turn.content, "status": "ok"}))
    return [*answers, row] if row.answer is not None else answers


def slope(points: dict[int, float]) -> float:
    """Of the least-squares line through points of at least two places."""
    middle, height = fmean(points), fmean(points.values())
    spread = sum((place - middle) ** 2 for place in points)
    return sum((place - middle) * (value - height) for place, value in points.items()) / spread


def _turn_id(item: str, number: int) -> str:
    return f"{item}#{number}"


def _of_turn(question: str) -> tuple[str, int]:
    name, _, number = question.rpartition("#")
    return name, int(number)
