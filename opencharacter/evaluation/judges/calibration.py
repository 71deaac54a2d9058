"""A judge's difference of two models, corrected by what people say of some of the items (prediction-powered inference).

The judge has scored every item, people have scored some: the judge's mean difference over all items, minus the mean of
(judge minus people) over the labelled ones. The correction makes the estimate the people's, whatever the judge's
faults; a good judge makes its interval narrower than that of the labels alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

from opencharacter.evaluation.figures import cluster_numbers, clustered
from opencharacter.records.judges import Calibrated


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
    labelled = np.array([item in labels for item in items], dtype=bool)
    chosen = [numbers[labelled] for numbers in clusters]
    people = np.array([labels[item] for item in items if item in labels], dtype=float)
    judge, errors = clustered(differences, clusters), clustered(differences[labelled] - people, chosen)
    if errors.value is None:
        corrected = errors
    else:
        # Numbers whose mean is the corrected difference and whose deviations are each item's part in its error.
        parts = differences - errors.value
        parts[labelled] -= (differences[labelled] - people - errors.value) * (len(items) / len(people))
        fewest = min(len(np.unique(numbers)) for numbers in chosen)
        corrected = clustered(parts, clusters, df=fewest - 1).model_copy(update={"n": len(people)})
    return Calibrated(judge=judge, people=clustered(people, chosen), judge_minus_people=errors, corrected=corrected)
