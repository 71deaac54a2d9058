"""Comparisons of two models' answers: both orders as one outcome, win rate, flips, first-place rate and length."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.evaluation.figures import CONFIDENCE, cluster_numbers, clustered, share
from opencharacter.evaluation.logistic import fit_logistic, logistic
from opencharacter.evaluation.ranking import Match, rank
from opencharacter.records.judges import Arena, Figure, OrderBias, PairResult

if TYPE_CHECKING:
    import numpy as np

PREFERENCE = "preference"
"""The metric of the scores: share of comparisons won, ties half."""

MOST_FLIPS = 0.40
"""Share of pairs whose verdict may depend on the order alone."""
FEWEST_PAIRS = 20
"""Pairs without which nothing is said about a judge."""


class Comparison(NamedTuple):
    """Two models' answers to one item, as one judge has them in both orders."""

    question_id: str
    character: str | None
    session: str
    judge: str
    first: str
    second: str
    """The two models, in the order of their identities."""
    shown_first: float | None
    """1 where the first model wins when its answer is shown first, 0.5 for a tie; none: no readable verdict."""
    shown_second: float | None
    """The same where its answer is shown second."""
    log_length: float
    """Logarithm of the first answer's length over the second's."""
    asked: bool = True
    """Whether the judge was asked; it is not where a model said nothing, or both said the same."""

    @property
    def score(self) -> float | None:
        """The first model's score: the mean of both orders, so that a flip is a tie. None without both."""
        if self.shown_first is None or self.shown_second is None:
            return None
        return (self.shown_first + self.shown_second) / 2

    @property
    def flipped(self) -> bool:
        """Whether the judge prefers one place, whichever answer stands there."""
        return {self.shown_first, self.shown_second} == {0.0, 1.0}


def log_length(first: str, second: str) -> float:
    """Logarithm of the ratio of two lengths in characters, which are the same for models of any tokenizer."""
    return math.log(max(1, len(first.strip())) / max(1, len(second.strip())))


def summarise_arena(comparisons: Iterable[Comparison]) -> Arena:
    """Each pair of models by each judge, and a ranking where there are three models or more."""
    ordered = sorted(comparisons, key=lambda c: (c.judge, c.first, c.second, c.question_id))
    pairs = [summarise_pair(list(group)) for _, group in groupby(ordered, key=lambda c: (c.judge, c.first, c.second))]
    matches: dict[str, list[Match]] = defaultdict(list)
    for comparison in ordered:
        if comparison.score is not None:
            matches[comparison.judge].append(
                Match(comparison.first, comparison.second, comparison.score, comparison.character)
            )
    ranking = {judge: rank(played) for judge, played in matches.items()}
    return Arena(pairs=pairs, ranking={judge: models for judge, models in ranking.items() if len(models) > 2})


def summarise_pair(comparisons: Sequence[Comparison]) -> PairResult:
    """One judge's comparisons of two models."""
    import numpy as np

    readable = [comparison for comparison in comparisons if comparison.score is not None]
    scores = np.array([comparison.score for comparison in readable], dtype=float)
    lengths = np.array([comparison.log_length for comparison in readable], dtype=float) / math.log(2)
    clusters = cluster_numbers([comparison.character for comparison in readable])
    sessions = cluster_numbers([comparison.session for comparison in readable])
    controlled, slope = _length_controlled(scores, lengths, clusters)
    first = comparisons[0]
    return PairResult(
        judge=first.judge,
        first=first.first,
        second=first.second,
        win_rate=clustered(scores, [clusters, sessions]),
        length_controlled=controlled,
        length_slope=slope,
        order=order_bias(readable),
        unreadable=len(comparisons) - len(readable),
    )


def order_bias(comparisons: Sequence[Comparison]) -> OrderBias:
    """Flips and first places, over the pairs that the judge was asked of and has a verdict for in both orders."""
    readable = [comparison for comparison in comparisons if comparison.asked and comparison.score is not None]
    flips = share(sum(comparison.flipped for comparison in readable), len(readable))
    verdicts = [score for one in readable for score in (one.shown_first, 1 - (one.shown_second or 0))]
    decided = [score for score in verdicts if score in (0, 1)]
    firsts = share(decided.count(1), len(decided))
    if flips.value is None or flips.n < FEWEST_PAIRS:
        reason = f"{flips.n} pairs have a verdict in both orders; at least {FEWEST_PAIRS} are needed"
        return OrderBias(flip_rate=flips, first_place_rate=firsts, verdict="unknown", reason=reason)
    refused = flips.value > MOST_FLIPS
    said = f"changes {flips.value:.0%} of {flips.n} verdicts with the order of the answers"
    return OrderBias(
        flip_rate=flips,
        first_place_rate=firsts,
        verdict="refused" if refused else "passed",
        reason=f"{said}, more than {MOST_FLIPS:.0%}" if refused else said,
    )


def _length_controlled(scores: "np.ndarray", lengths: "np.ndarray", clusters: "np.ndarray") -> tuple[Figure, Figure]:
    """Win rate at equal length, and the slope; none where the data do not tell them apart."""
    import numpy as np
    from scipy.stats import t

    n = len(scores)
    groups = len(np.unique(clusters))
    nothing = Figure(value=None, n=n, clusters=groups)
    # Answers of one length in all pairs say nothing of length, one outcome in all pairs nothing of its odds.
    if groups < 3 or np.ptp(lengths) < 1e-9 or np.ptp(scores) < 1e-9:
        return nothing, nothing
    design = np.column_stack([np.ones(n), lengths])
    beta = fit_logistic(design, scores, np.ones(n))
    fitted = logistic(design @ beta)
    bread = np.linalg.pinv((design * (fitted * (1 - fitted))[:, None]).T @ design)
    parts = design * (scores - fitted)[:, None]
    sums = np.zeros((int(clusters.max()) + 1, 2))
    np.add.at(sums, clusters, parts)
    errors = np.sqrt(np.diag(bread @ (sums.T @ sums) @ bread) * groups / (groups - 1))
    half = t.ppf((1 + CONFIDENCE) / 2, groups - 1) * errors
    ends = np.array([beta - half, beta, beta + half])
    rates = logistic(ends[:, 0])

    def figure(low: float, value: float, high: float) -> Figure:
        return Figure(value=float(value), low=float(low), high=float(high), n=n, clusters=groups)

    return figure(*rates), figure(*ends[:, 1])
