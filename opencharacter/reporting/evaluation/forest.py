"""Paired differences, challenger against champion and base, by task and cell: the lines of a forest plot."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opencharacter.records.evaluation import Difference
from opencharacter.reporting.evaluation.rows import BASE, CHAMPION, LIKELIHOOD, SLOPES, SuiteRows
from opencharacter.reporting.formats import CELL_LABELS, words
from opencharacter.reporting.verdicts import Verdict, page_verdicts

_WHOLE = ("held_out", "all")


@dataclass(frozen=True)
class Bar:
    """Where an interval is drawn, in percent of the plot's width. Zero is in the middle."""

    left: float
    width: float
    dot: float
    cut: bool
    """Whether the interval goes beyond the plot."""


@dataclass(frozen=True)
class Line:
    """The challenger's difference from one other model."""

    rival: str
    difference: Difference
    verdict: Verdict
    bar: Bar


@dataclass(frozen=True)
class Group:
    """One measure in one cell, or in all of them, against each other model."""

    metric: str
    label: str
    is_part: bool
    """Whether it is a cell of the measure above it."""
    lines: list[Line]


@dataclass(frozen=True)
class Forest:
    """Lines on one scale."""

    reach: float
    """The difference at the right edge."""
    unit: str
    groups: list[Group]


def forests(suites: Sequence[SuiteRows]) -> list[list[Forest]]:
    """The plots of each suite: likelihoods have a scale of their own. Words are corrected over the page (Holm)."""
    rows = [(row, suite.is_lower_better(row.metric)) for suite in suites for row in suite.summary.differences]
    alpha = max((1 - suite.summary.confidence for suite in suites), default=0.05)
    verdicts = {id(row): verdict for (row, _), verdict in zip(rows, page_verdicts(rows, alpha), strict=True)}
    return [list(_plots(suite, verdicts)) for suite in suites]


def _plots(suite: SuiteRows, verdicts: Mapping[int, Verdict]) -> Iterator[Forest]:
    kinds = (
        ("points", suite.rated),
        ("points a turn", SLOPES),
        ("nats per token; of a loss, less is better", LIKELIHOOD),
    )
    for unit, kind in kinds:
        metrics = [metric for metric in suite.metrics if metric in kind]
        rows = [row for row in suite.summary.differences if row.metric in metrics and row.difference is not None]
        if rows:
            reach = reach_of(rows)
            groups = [group for metric in metrics for group in _groups(metric, rows, verdicts, reach)]
            yield Forest(reach, unit, groups)


def _groups(metric: str, rows: Sequence[Difference], verdicts: Mapping[int, Verdict], reach: float) -> Iterator[Group]:
    for cell in (*_WHOLE, *(cell for cell in CELL_LABELS if cell not in _WHOLE)):
        found = sorted(
            (row for row in rows if (row.metric, row.cell) == (metric, cell)),
            key=lambda row: (
                (CHAMPION, BASE).index(row.against) if row.against in (CHAMPION, BASE) else 2,
                row.against,
            ),
        )
        lines = [
            Line(row.against, row, verdicts[id(row)], bar_of(row.difference, row.low, row.high, reach)) for row in found
        ]
        if lines:
            is_part = cell not in _WHOLE
            yield Group(metric, CELL_LABELS[cell] if is_part else words(metric), is_part, lines)


def bar_of(mean: float | None, low: float | None, high: float | None, reach: float) -> Bar:
    """The place of a mean and its interval on a plot that reaches from -reach to reach."""
    mean = mean or 0.0
    low, high = (mean if end is None else end for end in (low, high))
    left = place(low, reach)
    return Bar(left, place(high, reach) - left, place(mean, reach), cut=max(abs(low), abs(high)) > reach)


def place(value: float, reach: float) -> float:
    """Where a difference lies between the plot's edges, in percent."""
    return 50 + 50 * max(-1.0, min(1.0, value / reach)) if reach else 50.0


def reach_of(rows: Iterable[Difference]) -> float:
    """A round number that nearly all intervals end before."""
    return round_up([max(abs(end) for end in (row.low, row.difference, row.high) if end is not None) for row in rows])


def round_up(values: Sequence[float]) -> float:
    """A round number above nearly all values."""
    ordered = sorted(values)
    longest = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    steps = (digit * 10.0**power for power in range(-4, 5) for digit in (1, 1.5, 2, 3, 5, 7.5))
    return next((step for step in steps if step >= longest), longest)
