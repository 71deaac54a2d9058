"""The evaluation as the report shows it: after (the tuned model) against before (the base model) and the champion."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opencharacter.evaluation.subjects import short_identity
from opencharacter.hashing import text_digest
from opencharacter.records.evaluation import LOSS, SWAP_GAP, TOKEN_LIMIT, Difference, Score, Summary
from opencharacter.reporting import charts
from opencharacter.reporting.formats import CELL_LABELS, words
from opencharacter.reporting.verdicts import Verdict, page_verdicts
from opencharacter.storage.kinds import ANSWERS, SUMMARY
from opencharacter.storage.workspace import Artifact

_SERIES = {"base": "before", "champion": "champion", "challenger": "after"}
_LIKELIHOOD = (LOSS, SWAP_GAP)
_ANSWERS_SHOWN = 6
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Estimate:
    """A mean, and its interval where there were questions enough."""

    mean: float
    low: float | None
    high: float | None

    @property
    def with_interval(self) -> tuple[float, float, float]:
        """Mean, low and high; a mean without an interval stands for all three."""
        low, high = (self.mean if end is None else end for end in (self.low, self.high))
        return self.mean, low, high


@dataclass(frozen=True)
class Change:
    """The tuned model minus another one over the same questions."""

    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class ScoreLine:
    """One measure in one cell, for each model."""

    label: str
    questions: int
    estimates: Mapping[str, Estimate]
    changes: Mapping[str, Change]


@dataclass(frozen=True)
class ScoreTable:
    """One measure in all cells, or all judged dimensions, with its chart."""

    title: str
    caption: str
    series: list[str]
    rivals: list[str]
    lines: list[ScoreLine]
    chart: str


@dataclass(frozen=True)
class Failures:
    """Rows without a score for one reason: for each model their number, and how many were measured."""

    label: str
    counts: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ScoreView:
    """All tables, and what has no place in them."""

    confidence: float
    judge: str | None
    tables: list[ScoreTable]
    failures: list[Failures]
    series: list[str]


@dataclass(frozen=True)
class DecisionText:
    """The gate's decision in plain words."""

    passed: bool
    headline: str
    text: str
    notes: Sequence[str] = ()
    """What limits the decision, such as a level that does not hold."""


@dataclass(frozen=True)
class SampleAnswer:
    """One question, and what each model answered: title, text and what is wrong with it (empty: nothing)."""

    character_id: str | None
    label: str
    conversation: list[dict[str, str]]
    answers: list[tuple[str, str, str]]


def score_view(evaluation: Artifact) -> ScoreView:
    """The tables and charts of an evaluation's summary."""
    summary = SUMMARY.read(evaluation)
    rows = [(row, summary.scoring.scale(row.metric).lower_is_better) for row in summary.differences]
    verdicts = dict(zip(map(_key, summary.differences), page_verdicts(rows, 1 - summary.confidence), strict=True))
    present = [role for role in _SERIES if role in summary.models]
    cells = [name for name in CELL_LABELS if any(score.cell == name for score in summary.scores)]
    judged = list(dict.fromkeys(s.metric for s in summary.scores if s.metric not in _LIKELIHOOD))
    interval = f"{summary.confidence:.0%} interval"
    nats = f"nats per token, {interval}"
    gap = "Loss under a wrong character’s profile minus loss under the right one. Higher: the model uses the profile."
    judges = "From 1 to 5, over all held-out cells. Higher is better."
    table = partial(_table, summary, verdicts)
    tables = [
        table("Loss of the answer’s tokens", "Lower is better.", nats, _by_cell("loss", cells)),
        table("Profile-swap gap", gap, nats, _by_cell("profile_swap_gap", cells)),
        table("Judge scores", judges, f"score, {interval}", [(name, "held_out", words(name)) for name in judged]),
    ]
    return ScoreView(
        confidence=summary.confidence,
        judge=short_identity(summary.judge) if summary.judge else None,
        tables=[table for table in tables if table.lines],
        failures=_failures(summary.scores) + _truncation(evaluation, summary),
        series=[_SERIES[role] for role in present],
    )


def headline_losses(evaluation: Artifact) -> tuple[float, float] | None:
    """Loss before and after over all held-out cells."""
    means = {
        score.model: score.mean
        for score in SUMMARY.read(evaluation).scores
        if score.metric == "loss" and score.cell == "held_out" and score.mean is not None
    }
    return (means["base"], means["challenger"]) if {"base", "challenger"} <= means.keys() else None


def describe_decision(decision: Mapping[str, Any]) -> DecisionText:
    """Put the gate's decision into words."""
    rival = {"base": "the base model", "champion": "the present champion"}[decision["against"]]
    if decision["challenger_digest"] == decision.get("champion_digest"):
        headline = "This model is the champion already"
    elif decision["passed"]:
        headline = f"The new model beats {rival} and may become champion"
    elif decision.get("outcome") == "undecidable":
        headline = f"Whether the new model beats {rival} cannot be decided; it stays challenger"
    else:
        headline = f"The new model is not shown to beat {rival}; it stays challenger"
    return DecisionText(decision["passed"], headline, decision["reason"], decision.get("notes", ()))


def sample_answers(evaluation: Artifact) -> list[SampleAnswer]:
    """Questions that every model was asked, with what each said, chosen by the questions' ids only."""
    if not ANSWERS.exists(evaluation):
        return []
    roles = SUMMARY.read(evaluation).models
    by_question: dict[str, dict[str, dict[str, Any]]] = {}
    for row in ANSWERS.read_raw(evaluation):
        by_question.setdefault(row["question_id"], {}).setdefault(row["model"], row)
    asked = [question for question, rows in by_question.items() if set(roles.values()) <= rows.keys()]
    samples = []
    for question in sorted(asked, key=text_digest)[:_ANSWERS_SHOWN]:
        rows = {role: by_question[question][roles[role]] for role in _SERIES if role in roles}
        first = rows["base"]
        samples.append(
            SampleAnswer(
                character_id=first["character_id"],
                label=CELL_LABELS.get(first["cell"], ""),
                conversation=first["conversation"],
                answers=[(_SERIES[role], row["answer"] or "", _answer_fault(row)) for role, row in rows.items()],
            )
        )
    return samples


def _answer_fault(row: Mapping[str, Any]) -> str:
    if row["answer"]:
        return "cut off at the limit of tokens" if row.get("finish_reason") == TOKEN_LIMIT else ""
    return f"no answer: {words(row['status'])}"


def _by_cell(metric: str, cells: Iterable[str]) -> list[tuple[str, str, str]]:
    return [(metric, cell, CELL_LABELS[cell]) for cell in cells]


def _table(
    summary: Summary,
    verdicts: Mapping[_Key, Verdict],
    title: str,
    caption: str,
    axis: str,
    rows: Iterable[tuple[str, str, str]],
) -> ScoreTable:
    lines = [line for metric, cell, label in rows if (line := _line(summary, verdicts, metric, cell, label)).estimates]
    series = [name for name in _SERIES.values() if any(name in line.estimates for line in lines)]
    rivals = [name for name in _SERIES.values() if any(name in line.changes for line in lines)]
    points = {line.label: {name: value.with_interval for name, value in line.estimates.items()} for line in lines}
    chart = charts.intervals(words(title).replace(" ", "-").lower(), title, axis, points) if lines else ""
    return ScoreTable(title, caption, series, rivals, lines, chart)


def _line(summary: Summary, verdicts: Mapping[_Key, Verdict], metric: str, cell: str, label: str) -> ScoreLine:
    scores = [s for s in summary.scores if (s.metric, s.cell) == (metric, cell) and s.mean is not None]
    return ScoreLine(
        label=label,
        questions=max((score.n for score in scores), default=0),
        estimates={_SERIES[s.model]: Estimate(s.mean, s.low, s.high) for s in scores if s.mean is not None},
        changes={
            _SERIES[row.against]: Change(Estimate(row.difference, row.low, row.high), verdicts[_key(row)])
            for row in summary.differences
            if (row.metric, row.cell) == (metric, cell) and row.difference is not None
        },
    )


def _key(row: Difference) -> _Key:
    return row.metric, row.cell, row.against


def _truncation(evaluation: Artifact, summary: Summary) -> list[Failures]:
    """Answers that the limit of tokens cut off, whether they have a score or not."""
    if not ANSWERS.exists(evaluation):
        return []
    asked: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    for row in ANSWERS.read_raw(evaluation):
        asked[row["model"]] += 1
        cut[row["model"]] += row.get("finish_reason") == TOKEN_LIMIT
    counts = {_SERIES[role]: (cut[model], asked[model]) for role, model in summary.models.items() if cut[model]}
    return [Failures("answer: cut off at the limit of tokens", counts)] if counts else []


def _failures(scores: Iterable[Score]) -> list[Failures]:
    """Rows without a score, by measure and reason; the group `held_out` sums up other cells and is left out."""
    asked: Counter[tuple[str, str]] = Counter()
    failed: dict[tuple[str, str], Counter[str]] = {}
    for score in scores:
        if score.cell == "held_out":
            continue
        family = words(score.metric) if score.metric in _LIKELIHOOD else "judge"
        series = _SERIES[score.model]
        asked[family, series] += score.n + sum(score.failures.values())
        for status, count in score.failures.items():
            failed.setdefault((family, status), Counter())[series] += count
    return [
        Failures(f"{family}: {words(status)}", {name: (count, asked[family, name]) for name, count in counts.items()})
        for (family, status), counts in sorted(failed.items())
    ]
