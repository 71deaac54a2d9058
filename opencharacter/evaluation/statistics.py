"""Bootstrap intervals of a mean (percentile method; Efron and Tibshirani 1993, chapter 13)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.hashing import seed64

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 1 << 22  # drawn numbers held in memory at once


class Estimate(NamedTuple):
    """A mean over `n` values and its interval; the mean is none for no values, the interval for fewer than two."""

    n: int
    mean: float | None
    low: float | None
    high: float | None


def bootstrap(values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000) -> Estimate:
    """The mean and its two-sided bootstrap interval. For a paired comparison give the pairs' differences.

    Seeded by the values themselves: the same values have the same interval.
    """
    import numpy as np

    if len(values) == 0:
        return Estimate(0, None, None, None)
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(values) == 1:
        return Estimate(1, mean, None, None)
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled_means(numbers, resamples), [tail, 1 - tail])
    return Estimate(len(values), mean, float(low), float(high))


def _resampled_means(numbers: "np.ndarray", resamples: int) -> "np.ndarray":
    import numpy as np

    count = len(numbers)
    generator = np.random.default_rng(seed64("bootstrap", numbers.tolist(), resamples))
    rows = max(1, _BLOCK // count)
    blocks = [
        numbers[generator.integers(0, count, (min(rows, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(blocks)
