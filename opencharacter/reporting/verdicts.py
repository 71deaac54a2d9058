"""When a page may call a change better or worse: enough clusters, and a correction over all words of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opencharacter.records.evaluation import Difference

MIN_CLUSTERS = 20
"""Fewer clusters than these have no interval that holds."""


@dataclass(frozen=True)
class Verdict:
    """A word for a change, and why there is no stronger one."""

    word: Literal["better", "worse", "not shown", "undecidable"]
    why: str = ""


def page_verdicts(rows: Sequence[tuple[Difference, bool]], alpha: float) -> list[Verdict]:
    """A word for each difference of a page, in their order.

    Better or worse needs `MIN_CLUSTERS` clusters, and a p-value below `alpha` after Holm's correction over all of
    them. So a page about two equal models has a wrong word with chance `alpha` at most.

    Args:
        rows: Differences, and whether less is better by their measure.
        alpha: Chance of a false word on the page.
    """
    decidable = [
        place
        for place, (row, _) in enumerate(rows)
        if row.difference is not None and row.p is not None and (row.clusters or 0) >= MIN_CLUSTERS
    ]
    corrected = dict(zip(decidable, holm([rows[place][0].p or 0.0 for place in decidable]), strict=True))
    return [
        _word(row, lower_is_better, corrected[place] < alpha) if place in corrected else _undecidable(row)
        for place, (row, lower_is_better) in enumerate(rows)
    ]


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm's step-down method), in the order given."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def _word(row: Difference, lower_is_better: bool, shown: bool) -> Verdict:
    if not shown or not row.difference:
        return Verdict("not shown")
    return Verdict("better" if (row.difference < 0) == lower_is_better else "worse")


def _undecidable(row: Difference) -> Verdict:
    if row.clusters is None:
        return Verdict("undecidable", "its clusters were not counted")
    return Verdict("undecidable", f"{row.clusters} of {MIN_CLUSTERS} clusters")
