"""When a page may call a change better or worse: enough clusters, and a correction over all words of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opencharacter.records.evaluation import LOSS, Difference, Summary

MIN_CLUSTERS = 20
"""Fewer clusters than these have no interval that holds."""
LOWER_IS_BETTER = {LOSS}


@dataclass(frozen=True)
class Verdict:
    """A word for a change, and why there is no stronger one."""

    word: Literal["better", "worse", "not shown", "undecidable"]
    why: str = ""


def page_verdicts(summary: Summary) -> list[Verdict]:
    """A word for each of a summary's differences, in their order.

    Better or worse needs `MIN_CLUSTERS` clusters, and a p-value that passes Holm's correction over all of them. So a
    page about two equal models has a wrong word in one of twenty cases at most, at a confidence of 95 %.
    """
    decidable = [
        place
        for place, row in enumerate(summary.differences)
        if row.difference is not None and row.p is not None and (row.clusters or 0) >= MIN_CLUSTERS
    ]
    corrected = dict(zip(decidable, holm([summary.differences[place].p or 0.0 for place in decidable]), strict=True))
    return [
        _word(row, corrected[place], 1 - summary.confidence) if place in corrected else _undecidable(row)
        for place, row in enumerate(summary.differences)
    ]


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm's step-down method), in the order given."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def _word(row: Difference, corrected: float, alpha: float) -> Verdict:
    if corrected >= alpha or not row.difference:
        return Verdict("not shown")
    return Verdict("better" if (row.difference < 0) == (row.metric in LOWER_IS_BETTER) else "worse")


def _undecidable(row: Difference) -> Verdict:
    if row.clusters is None or row.p is None:
        return Verdict("undecidable", "its clusters were not counted" if row.clusters is None else "no interval")
    return Verdict("undecidable", f"{row.clusters} of {MIN_CLUSTERS} clusters")
