"""The evaluation as the report shows it: before (the base model) against after (the tuned one), and the gate's word."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opencharacter.hashing import text_digest
from opencharacter.records.evaluation import Difference, Score, Summary
from opencharacter.reporting import charts
from opencharacter.reporting.formats import CELL_LABELS, words
from opencharacter.storage.kinds import ANSWERS, SUMMARY
from opencharacter.storage.workspace import Artifact

_SERIES = {"base": "before", "challenger": "after", "champion": "champion"}
_LOWER_IS_BETTER = {"loss"}
_LIKELIHOOD = ("loss", "profile_swap_gap")
_ANSWERS_SHOWN = 6


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
    """After minus before over the same questions; `direction` is better, worse or unclear."""

    difference: Estimate
    direction: str


@dataclass(frozen=True)
class ScoreLine:
    """One measure in one cell, for each model."""

    label: str
    questions: int
    estimates: Mapping[str, Estimate]
    change: Change | None


@dataclass(frozen=True)
class ScoreTable:
    """One measure in all cells, or all judged dimensions, with its chart."""

    title: str
    caption: str
    series: list[str]
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


@dataclass(frozen=True)
class SampleAnswer:
    """One question, and what each model answered: title and text by model."""

    character_id: str | None
    label: str
    conversation: list[dict[str, str]]
    answers: list[tuple[str, str]]


def score_view(evaluation: Artifact) -> ScoreView:
    """The tables and charts of an evaluation's summary."""
    summary = SUMMARY.read(evaluation)
    present = [role for role in _SERIES if role in summary.models]
    cells = [name for name in CELL_LABELS if any(score.cell == name for score in summary.scores)]
    judged = list(dict.fromkeys(s.metric for s in summary.scores if s.metric not in _LIKELIHOOD))
    interval = f"{summary.confidence:.0%} interval"
    nats = f"nats per token, {interval}"
    gap = "Loss under a wrong character’s profile minus loss under the right one. Higher: the model uses the profile."
    judges = "From 1 to 5, over all held-out cells. Higher is better."
    tables = [
        _table(summary, "Loss of the answer’s tokens", "Lower is better.", nats, _by_cell("loss", cells)),
        _table(summary, "Profile-swap gap", gap, nats, _by_cell("profile_swap_gap", cells)),
        _table(
            summary, "Judge scores", judges, f"score, {interval}", [(name, "held_out", words(name)) for name in judged]
        ),
    ]
    return ScoreView(
        confidence=summary.confidence,
        judge=summary.judge,
        tables=[table for table in tables if table.lines],
        failures=_failures(summary.scores),
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
    else:
        headline = f"The new model is not shown to beat {rival}; it stays challenger"
    return DecisionText(passed=decision["passed"], headline=headline, text=decision["reason"])


def sample_answers(evaluation: Artifact) -> list[SampleAnswer]:
    """Questions that base and tuned model both answered, chosen by the questions' ids only."""
    if not ANSWERS.exists(evaluation):
        return []
    roles = {digest: role for role, digest in reversed(SUMMARY.read(evaluation).models.items())}
    by_question: dict[str, dict[str, dict[str, Any]]] = {}
    for row in ANSWERS.read_raw(evaluation):
        if row["answer"] and row["model"] in roles:
            by_question.setdefault(row["question_id"], {})[roles[row["model"]]] = row
    both = [question for question, rows in by_question.items() if {"base", "challenger"} <= rows.keys()]
    samples = []
    for question in sorted(both, key=text_digest)[:_ANSWERS_SHOWN]:
        rows = by_question[question]
        asked = rows["base"]
        samples.append(
            SampleAnswer(
                character_id=asked["character_id"],
                label=CELL_LABELS[asked["cell"]],
                conversation=asked["conversation"],
                answers=[(_SERIES[role], rows[role]["answer"]) for role in ("base", "challenger")],
            )
        )
    return samples


def _by_cell(metric: str, cells: Iterable[str]) -> list[tuple[str, str, str]]:
    return [(metric, cell, CELL_LABELS[cell]) for cell in cells]


def _table(summary: Summary, title: str, caption: str, axis: str, rows: Iterable[tuple[str, str, str]]) -> ScoreTable:
    lines = [line for metric, cell, label in rows if (line := _line(summary, metric, cell, label)).estimates]
    series = [name for name in _SERIES.values() if any(name in line.estimates for line in lines)]
    points = {line.label: {name: value.with_interval for name, value in line.estimates.items()} for line in lines}
    chart = charts.intervals(words(title).replace(" ", "-").lower(), title, axis, points) if lines else ""
    return ScoreTable(title, caption, series, lines, chart)


def _line(summary: Summary, metric: str, cell: str, label: str) -> ScoreLine:
    scores = [s for s in summary.scores if (s.metric, s.cell) == (metric, cell) and s.mean is not None]
    change = next(
        (
            _change(row, row.difference)
            for row in summary.differences
            if (row.metric, row.cell, row.against) == (metric, cell, "base") and row.difference is not None
        ),
        None,
    )
    return ScoreLine(
        label=label,
        questions=max((score.n for score in scores), default=0),
        estimates={_SERIES[s.model]: Estimate(s.mean, s.low, s.high) for s in scores if s.mean is not None},
        change=change,
    )


def _change(row: Difference, difference: float) -> Change:
    sign = -1 if row.metric in _LOWER_IS_BETTER else 1
    low, high = row.low, row.high
    direction = "unclear"
    if low is not None and high is not None and (low > 0 or high < 0):
        direction = "better" if sign * low > 0 else "worse"
    return Change(Estimate(difference, low, high), direction)


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
