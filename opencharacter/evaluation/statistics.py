"""Means that know their clusters, and what a sample can show. Functions over arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
"""Chance to show an effect as large as the smallest one that is printed."""


@dataclass(frozen=True)
class ClusteredMean:
    """A weighted mean with its cluster-robust standard error."""

    mean: float
    error: float
    """Standard error; infinite where a dimension has fewer than two clusters."""
    df: int
    n: int
    clusters: int
    """The fewest clusters of a dimension, as many as equal ones that would tell as much."""

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The two-sided t interval; none for fewer than two clusters."""
        if self.df < 1:
            return None
        half = _quantile((1 + confidence) / 2, self.df) * self.error
        return self.mean - half, self.mean + half

    def p(self, null: float = 0.0) -> float | None:
        """Two-sided p-value of the hypothesis that the mean is `null`; none for fewer than two clusters."""
        from scipy import stats

        if self.df < 1:
            return None
        if self.error == 0:
            return 1.0 if self.mean == null else 0.0
        return float(2 * stats.t.sf(abs(self.mean - null) / self.error, self.df))

    def smallest_effect(self, alpha: float, power: float = POWER) -> float | None:
        """The smallest effect that a one-sided test at `alpha` shows with chance `power` (MDE)."""
        return smallest_effect(self.error, alpha, power=power, df=self.df) if self.df >= 1 else None


def clustered_mean(
    values: "np.ndarray",
    clusters: Sequence["np.ndarray"],
    *,
    weights: "np.ndarray | None" = None,
    strata: "np.ndarray | None" = None,
) -> ClusteredMean:
    """A weighted mean, with a variance that lets values of one cluster depend on each other.

    One dimension of clusters has the variance V = G/(G-1) * sum over clusters of (sum of weighted residuals)^2; two
    have Vc + Vs - Vcs (Cameron, Gelbach and Miller 2011). Where the sum is smaller than one of its parts, as
    happens by chance if nothing is clustered, the largest part holds. The t distribution has min(G) - 1 degrees of
    freedom.

    Args:
        values: One number for each observation; at least one.
        clusters: One or two arrays of labels, such as characters and sessions.
        weights: Weights of the observations, by default equal; they are scaled to the sum 1.
        strata: Labels of parts that each have a mean of their own, such as cells. Their weights are not estimated, so
            that the differences between parts are no noise.
    """
    import numpy as np

    count = len(values)
    scaled = np.full(count, 1 / count) if weights is None else weights / weights.sum()
    mean = float(scaled @ values)
    residuals = scaled * (values - _means_of(values, scaled, strata))
    codes = [np.unique(labels, return_inverse=True)[1] for labels in clusters]
    sizes = [int(code.max()) + 1 for code in codes]
    fewest = min(sizes)
    effective = min(_effective_count(np.bincount(code, scaled)) for code in codes)
    variances = [_variance(residuals, code) for code in codes]
    if len(codes) == 2:
        both = codes[0].astype(np.int64) * sizes[1] + codes[1]
        variances.append(sum(variances) - _variance(residuals, np.unique(both, return_inverse=True)[1]))
    error = math.sqrt(max(variances)) if fewest > 1 else math.inf
    return ClusteredMean(mean, error, fewest - 1, count, effective)


def smallest_effect(error: float, alpha: float, *, power: float = POWER, df: float = math.inf) -> float:
    """The smallest effect that a one-sided test at `alpha` shows with chance `power`, by its standard error."""
    return (_quantile(1 - alpha, df) + _quantile(power, df)) * error


def resampled_means(
    values: "np.ndarray", clusters: "np.ndarray", *, weights: "np.ndarray", resamples: int = 2000, seed: int = 0
) -> "np.ndarray":
    """Means of resampled clusters, to draw the uncertainty. Decisions take `clustered_mean`: it suits few clusters."""
    import numpy as np

    _, codes = np.unique(clusters, return_inverse=True)
    sums, totals = np.bincount(codes, weights * values), np.bincount(codes, weights)
    generator = np.random.default_rng(seed)
    picks = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    means: np.ndarray = (picks @ sums) / (picks @ totals)
    return means


Level = Literal["character", "item", "answer", "judge"]
LEVELS: tuple[Level, ...] = ("character", "item", "answer", "judge")


@dataclass(frozen=True)
class Design:
    """How many of each level: characters, items of a character, answers to an item, judgements of an answer."""

    characters: int
    items: float = 1
    answers: float = 1
    judgements: float = 1

    @property
    def judge_calls(self) -> float:
        """Judgements of one model's answers."""
        return self.characters * self.items * self.answers * self.judgements


@dataclass(frozen=True)
class Components:
    """Variance of a score by where it comes from; none: not measured by itself, and part of the level above."""

    character: float
    item: float | None = None
    answer: float | None = None
    judge: float | None = None

    def error(self, design: Design) -> float:
        """Standard error of a mean over the design."""
        sizes = (design.characters, design.items, design.answers, design.judgements)
        parts, count = 0.0, 1.0
        for level, size in zip(LEVELS, sizes, strict=True):
            count *= size
            parts += (getattr(self, level) or 0.0) / count
        return math.sqrt(parts)

    def of_difference(self) -> "Components":
        """Components of the difference of two models whose answers do not depend on each other."""
        return self.scaled(2)

    def scaled(self, factor: float) -> "Components":
        """All components times a number."""
        parts = {level: None if (part := getattr(self, level)) is None else factor * part for level in LEVELS}
        return Components(**parts)  # type: ignore[arg-type]


PAPER = Components(character=0.11**2, item=0.50**2)
"""Of one model's scores on PersonaGym, by the standard deviations that the paper prints."""


def planned_effect(
    design: Design, components: Components = PAPER, *, alpha: float = 0.025, power: float = POWER
) -> float:
    """The smallest difference of two models that a comparison of this size can show, from one model's components."""
    return smallest_effect(
        components.of_difference().error(design), alpha, power=power, df=max(1, design.characters - 1)
    )


def best_next_calls(design: Design, components: Components, calls: int = 1000) -> dict[str, float]:
    """The standard error after `calls` more judge calls, by what they are spent on, smallest first."""
    grown = 1 + calls / design.judge_calls
    options = {
        "characters": Design(round(design.characters * grown), design.items, design.answers, design.judgements),
        "items": Design(design.characters, design.items * grown, design.answers, design.judgements),
        "answers": Design(design.characters, design.items, design.answers * grown, design.judgements),
        "judgements": Design(design.characters, design.items, design.answers, design.judgements * grown),
    }
    errors = {name: components.error(option) for name, option in options.items()}
    return dict(sorted(errors.items(), key=lambda entry: entry[1]))


def variance_components(values: "np.ndarray", levels: Mapping[Level, "np.ndarray"]) -> Components:
    """Components of scores by the method of moments (nested analysis of variance, unequal sizes allowed).

    Args:
        values: One score for each judgement.
        levels: Labels of each score by level, from `character` down. A label is read within those above it. A level
            that nobody repeats is not measured by itself; its variance is in the one above.
    """
    import numpy as np

    names = [level for level in LEVELS if level in levels]
    codes: list[np.ndarray] = [np.zeros(len(values), dtype=np.int64)]
    for name in names:
        pairs = np.stack([codes[-1], np.unique(levels[name], return_inverse=True)[1]])
        codes.append(np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1))
    # A level is kept if it has more groups than the one above it.
    kept, groups = ["all"], [codes[0]]
    for name, code in zip(names, codes[1:], strict=True):
        if code.max() > groups[-1].max():
            kept.append(name)
            groups.append(code)
    centred = values - values.mean()
    between = [float((np.bincount(code, centred) ** 2 / np.bincount(code)).sum()) for code in groups]
    size = len(groups)
    observed = np.array([between[k] - between[k - 1] for k in range(1, size)])
    shares = np.array([[_shared(groups[k], groups[m]) for m in range(1, size)] for k in range(size)])
    expected = shares[1:] - shares[:-1]
    solved = np.linalg.solve(expected, observed) if size > 1 else np.zeros(0)
    found = {name: max(0.0, float(part)) for name, part in zip(kept[1:], solved, strict=True)}
    return Components(**({"character": 0.0} | found))


def _shared(upper: "np.ndarray", lower: "np.ndarray") -> float:
    """What one unit of the lower level's variance adds to the sum of squares between groups of the upper level."""
    import numpy as np

    if lower.max() < upper.max():
        return float(len(upper))
    sizes = np.bincount(lower)
    parents = np.zeros(len(sizes), dtype=np.int64)
    parents[lower] = upper
    return float((sizes**2 / np.bincount(upper)[parents]).sum())


def _means_of(values: "np.ndarray", weights: "np.ndarray", strata: "np.ndarray | None") -> "np.ndarray | float":
    import numpy as np

    if strata is None:
        return float(weights @ values)
    _, codes = np.unique(strata, return_inverse=True)
    means: np.ndarray = (np.bincount(codes, weights * values) / np.bincount(codes, weights))[codes]
    return means


def _variance(residuals: "np.ndarray", codes: "np.ndarray") -> float:
    import numpy as np

    sums = np.bincount(codes, residuals)
    return float(sums @ sums) * len(sums) / max(1, len(sums) - 1)


def _effective_count(shares: "np.ndarray") -> int:
    """Clusters of equal weight that tell as much as these (Kish)."""
    return math.floor(float(shares.sum() ** 2 / (shares @ shares)) + 1e-9)


def _quantile(level: float, df: float) -> float:
    from scipy import stats

    return float(stats.t.ppf(level, df))
