"""Strengths of three or more models from their comparisons in pairs (Bradley and Terry), characters resampled."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.evaluation.figures import cluster_numbers, resample
from opencharacter.evaluation.logistic import fit_logistic, logistic
from opencharacter.records.judges import Figure, Standing

if TYPE_CHECKING:
    import numpy as np

_RIDGE = 1e-3  # a model that never loses gets a large strength and not an endless one
_RESAMPLES = 300


class Match(NamedTuple):
    """Two models' answers to one item, compared."""

    first: str
    second: str
    first_wins: float
    """1, 0, or what lies between: a tie is 0.5."""
    cluster: str | None


def rank(matches: Iterable[Match]) -> list[Standing]:
    """The models, the strongest first. Empty without a match."""
    import numpy as np

    played = list(matches)
    if not played:
        return []
    models = sorted({model for match in played for model in (match.first, match.second)})
    clusters = cluster_numbers([match.cluster for match in played])
    wins, design = _tally(played, models, clusters)

    def fit(draws: "np.ndarray") -> "np.ndarray":
        strengths = _strengths(design, np.tensordot(draws, wins, axes=1))
        return np.concatenate([strengths, _win_rates(strengths)])

    groups = len(wins)
    value = fit(np.ones(groups))
    count = len(models)
    low, high = resample(clusters, fit, resamples=_RESAMPLES) if groups > 1 else (value - np.inf, value + np.inf)

    def figure(place: int, n: int) -> Figure:
        ends = {"low": float(low[place]), "high": float(high[place])} if groups > 1 else {}
        return Figure(value=float(value[place]), n=n, clusters=groups, **ends)

    standings = []
    for place, model in enumerate(models):
        n = sum(model in (match.first, match.second) for match in played)
        others = [other for other in range(count) if other != place]
        above = sum(low[other] > high[place] for other in others)
        below = sum(high[other] < low[place] for other in others)
        standings.append(
            Standing(
                model=model,
                strength=figure(place, n),
                win_rate=figure(count + place, n),
                best_rank=1 + int(above),
                worst_rank=count - int(below),
            )
        )
    return sorted(standings, key=lambda standing: -(standing.strength.value or 0))


def _tally(played: Sequence[Match], models: Sequence[str], clusters: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Wins by cluster, pair of models and side, and the pairs as rows of +1 and -1."""
    import numpy as np

    place = {model: number for number, model in enumerate(models)}
    pairs = sorted({(match.first, match.second) for match in played})
    row = {pair: number for number, pair in enumerate(pairs)}
    wins = np.zeros((int(clusters.max()) + 1, len(pairs), 2))
    for match, cluster in zip(played, clusters, strict=True):
        wins[cluster, row[match.first, match.second]] += (match.first_wins, 1 - match.first_wins)
    design = np.zeros((len(pairs), len(models)))
    for number, (first, second) in enumerate(pairs):
        design[number, place[first]], design[number, place[second]] = 1, -1
    return wins, design


def _strengths(design: "np.ndarray", wins: "np.ndarray") -> "np.ndarray":
    import numpy as np

    played = wins.sum(axis=1)
    shares = np.divide(wins[:, 0], played, out=np.full(len(played), 0.5), where=played > 0)
    strengths = fit_logistic(design, shares, played, ridge=_RIDGE)
    return strengths - strengths.mean()


def _win_rates(strengths: "np.ndarray") -> "np.ndarray":
    """The mean chance to win against each of the others."""
    chances = logistic(strengths[:, None] - strengths[None, :])
    return (chances.sum(axis=1) - 0.5) / (len(strengths) - 1)
