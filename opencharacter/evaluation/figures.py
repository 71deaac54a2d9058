"""A figure with its interval, and the ways in which an interval is made."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opencharacter.evaluation.statistics import ClusteredMean, clustered_mean
from opencharacter.hashing import seed64
from opencharacter.records.judges import Figure

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 1000


def share(count: int, total: int) -> Figure:
    """A share of independent calls, with Wilson's interval."""
    if not total:
        return Figure(value=None, n=0)
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(value=count / total, low=interval.low, high=interval.high, n=total)


def clustered(values: "np.ndarray", clusters: "Sequence[np.ndarray]") -> Figure:
    """A mean with its cluster-robust t interval."""
    if not len(values):
        return Figure(value=None, n=0)
    return figure(clustered_mean(values, clusters), clusters)


def figure(found: ClusteredMean, clusters: "Sequence[np.ndarray]") -> Figure:
    """A mean that knows its clusters; the first dimension's are counted."""
    low, high = found.interval(CONFIDENCE) or (None, None)
    return Figure(value=found.mean, low=low, high=high, n=found.n, clusters=len(set(clusters[0].tolist())))


def cluster_numbers(clusters: Sequence[str | None]) -> "np.ndarray":
    """A whole number from 0 for each row, equal for rows of one cluster."""
    import numpy as np

    numbers: dict[str | None, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp)


def resample(
    clusters: "np.ndarray", statistic: "Callable[[np.ndarray], np.ndarray | float]", *, resamples: int = RESAMPLES
) -> "tuple[np.ndarray, np.ndarray]":
    """Low and high end of a statistic's 95 % interval, by drawing whole clusters.

    `statistic` gets how often each cluster is drawn, in the order of their numbers. Seeded by the clusters alone.
    """
    import numpy as np

    count = int(clusters.max()) + 1 if len(clusters) else 0
    generator = np.random.default_rng(seed64("clusters", clusters.tolist(), resamples))
    draws = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    values = np.array([statistic(draw) for draw in draws], dtype=float)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
    return low, high
