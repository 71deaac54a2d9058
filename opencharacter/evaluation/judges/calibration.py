"""A judge's difference of two models, corrected by what people say of some of the items (prediction-powered inference).

The judge has scored every item, people have scored some: the judge's mean difference over all items, minus the mean of
(judge minus people) over the labelled ones. The correction makes the estimate the people's, whatever the judge's
faults; a good judge makes its interval narrower than that of the labels alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.evaluation.figures import cluster_numbers, clustered, figure
from opencharacter.evaluation.statistics import ClusteredMean, clustered_mean
from opencharacter.records.judges import Calibrated

if TYPE_CHECKING:
    import numpy as np


class Pair(NamedTuple):
    """The difference of two models on one item, as the judge has it."""

    character: str | None
    session: str
    difference: float


def calibrate(judged: Mapping[str, Pair], labels: Mapping[str, float]) -> Calibrated:
    """Correct the judge's differences by people's; both by item. Labels of items without a judgement are left out.

    Intervals are cluster-robust in characters and sessions; an item's parts in the mean and in the correction fall into
    the same cluster.
    """
    import numpy as np

    items = sorted(judged)
    clusters = [
        cluster_numbers([judged[item].character for item in items]),
        cluster_numbers([judged[item].session for item in items]),
    ]
    differences = np.array([judged[item].difference for item in items], dtype=float)
    errors = differences - np.array([labels.get(item, np.nan) for item in items], dtype=float)
    labelled = ~np.isnan(errors)
    chosen = [numbers[labelled] for numbers in clusters]
    judge, error = clustered(differences, clusters), clustered(errors[labelled], chosen)
    corrected = error
    if error.value is not None:
        equal = np.full(len(items), 1 / len(items))
        found = correct(differences, clusters, equal, errors, labelled / labelled.sum())
        corrected = figure(found, chosen).model_copy(update={"n": int(labelled.sum())})
    people = clustered((differences - errors)[labelled], chosen)
    return Calibrated(judge=judge, people=people, judge_minus_people=error, corrected=corrected)


def correct(
    differences: "np.ndarray",
    clusters: Sequence["np.ndarray"],
    weights: "np.ndarray",
    errors: "np.ndarray",
    error_weights: "np.ndarray",
) -> ClusteredMean:
    """The mean of the judge's differences, minus the mean of its errors.

    Args:
        differences: The judge's, of all items.
        clusters: Labels of the items, one array or two.
        weights: Of the items in the mean; their sum is 1.
        errors: Judge minus people; not a number where people have not labelled the item.
        error_weights: Of the labelled items in the mean error; their sum is 1.

    Returns:
        The mean, with as many clusters and degrees of freedom as the labelled items have.
    """
    import numpy as np

    labelled = ~np.isnan(errors)
    known = [labels[labelled] for labels in clusters]
    error = clustered_mean(errors[labelled], known, weights=error_weights[labelled])
    # Numbers whose mean is the corrected difference and whose deviations are each item's part in its error.
    parts = differences - error.mean
    parts[labelled] -= (errors[labelled] - error.mean) * (error_weights / weights)[labelled]
    found = clustered_mean(parts, clusters, weights=weights)
    return replace(found, df=min(found.df, error.df), clusters=min(found.clusters, error.clusters))
