"""How far raters, judges or people, agree: Krippendorff's alpha over all of them, weighted kappa of each pair."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.evaluation.figures import cluster_numbers, resample
from opencharacter.records.judges import Agreement, Figure, Kappa

if TYPE_CHECKING:
    import numpy as np


class Rating(NamedTuple):
    """What one rater says of one thing."""

    unit: str
    """What is rated; ratings of one unit are compared."""
    cluster: str | None
    """Units of one cluster are not independent."""
    task: str
    rater: str
    value: float


def agreement(ratings: Iterable[Rating]) -> list[Agreement]:
    """Agreement in each task, over the units that two raters or more have rated. A rater's repeats are averaged."""
    tasks: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    clusters: dict[str, str | None] = {}
    for rating in ratings:
        tasks[rating.task][rating.unit][rating.rater].append(rating.value)
        clusters[rating.unit] = rating.cluster
    found = []
    for task, units in sorted(tasks.items()):
        raters = sorted({rater for rated in units.values() for rater in rated})
        shared = {unit: rated for unit, rated in sorted(units.items()) if len(rated) > 1}
        if len(raters) < 2 or not shared:
            continue
        table = _table(shared, raters)
        numbers = cluster_numbers([clusters[unit] for unit in shared])
        kappas = tuple(
            Kappa(first=raters[one], second=raters[other], kappa=_kappa(table[one], table[other], numbers))
            for one, other in combinations(range(len(raters)), 2)
        )
        found.append(Agreement(task=task, raters=tuple(raters), alpha=_alpha(table, numbers), kappas=kappas))
    return found


def _table(units: dict[str, dict[str, list[float]]], raters: list[str]) -> "np.ndarray":
    """Raters x units; not a number where a rater has not rated a unit."""
    import numpy as np

    table = np.full((len(raters), len(units)), np.nan)
    for column, rated in enumerate(units.values()):
        for row, rater in enumerate(raters):
            if values := rated.get(rater):
                table[row, column] = sum(values) / len(values)
    return table


def _alpha(table: "np.ndarray", clusters: "np.ndarray") -> Figure:
    import krippendorff
    import numpy as np

    values = np.unique(table[~np.isnan(table)])
    counts = (table[:, :, None] == values).sum(axis=0)
    groups = int(clusters.max()) + 1

    def alpha(draws: "np.ndarray") -> float:
        drawn = np.repeat(counts, draws[clusters], axis=0)
        if (drawn.sum(axis=0) > 0).sum() < 2:
            return float("nan")  # one value only: agreement and chance are the same
        return float(krippendorff.alpha(value_counts=drawn, value_domain=values, level_of_measurement="ordinal"))

    return _figure(alpha, clusters, groups, len(counts))


def _kappa(first: "np.ndarray", second: "np.ndarray", clusters: "np.ndarray") -> Figure:
    import numpy as np

    both = ~np.isnan(first) & ~np.isnan(second)
    first, second, clusters = first[both], second[both], clusters[both]
    if not len(first):
        return Figure(value=None, n=0)
    clusters = np.unique(clusters, return_inverse=True)[1]

    def kappa(draws: "np.ndarray") -> float:
        weights = draws[clusters]
        total = weights.sum()
        mean_first, mean_second = (weights @ first) / total, (weights @ second) / total
        # One minus the squared distance that is found over the one that is expected by chance.
        found = weights @ (first - second) ** 2 / total
        expected = (weights @ (first - mean_first) ** 2 + weights @ (second - mean_second) ** 2) / total + (
            mean_first - mean_second
        ) ** 2
        return float(1 - found / expected) if expected else float("nan")

    return _figure(kappa, clusters, int(clusters.max()) + 1, len(first))


def _figure(statistic: "Callable[[np.ndarray], float]", clusters: "np.ndarray", groups: int, n: int) -> Figure:
    import numpy as np

    value = statistic(np.ones(groups, dtype=np.intp))
    if np.isnan(value):
        return Figure(value=None, n=n, clusters=groups)
    if groups < 2:
        return Figure(value=value, n=n, clusters=groups)
    low, high = resample(clusters, statistic)
    return Figure(value=value, low=float(low), high=float(high), n=n, clusters=groups)
