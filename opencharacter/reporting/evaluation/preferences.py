"""Pairwise verdicts: what each order of the answers said, as a matrix that shows flips."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from opencharacter.evaluation.subjects import short_identity
from opencharacter.reporting.evaluation.rows import CHALLENGER, SuiteRows

OUTCOMES = ("wins", "ties", "loses")
_OUTCOME = {1.0: "wins", 0.5: "ties", 0.0: "loses"}


@dataclass(frozen=True)
class FlipMatrix:
    """The challenger's result against another model, shown first (rows) and shown second (columns), by one judge."""

    judge: str
    rival: str
    counts: dict[tuple[str, str], int]
    total: int
    flips: float
    """Share of pairs that a model wins from one place and loses from the other."""
    first: float
    """Share of decided verdicts that go to the answer shown first; 0.5 is fair."""


def flip_matrices(suite: SuiteRows) -> list[FlipMatrix]:
    """A matrix for each judge and other model."""
    names = {identity: name for name, identity in suite.models.items()}
    pairs: dict[tuple[str, str], dict[tuple[str, int], dict[bool, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in suite.judgements:
        if row.rival is None or row.score is None:
            continue
        first, second = names.get(row.model), names.get(row.rival)
        if first == CHALLENGER and second is not None:
            pairs[row.judge, second][row.question_id, row.repeat][True] = row.score
        elif second == CHALLENGER and first is not None:
            pairs[row.judge, first][row.question_id, row.repeat][False] = 1 - row.score
    matrices = []
    for (judge, rival), verdicts in sorted(pairs.items()):
        both = [(found[True], found[False]) for found in verdicts.values() if len(found) == 2]
        if both:
            matrices.append(_matrix(judge, rival, both))
    return matrices


def _matrix(judge: str, rival: str, both: list[tuple[float, float]]) -> FlipMatrix:
    counts = Counter((_OUTCOME.get(one, "ties"), _OUTCOME.get(other, "ties")) for one, other in both)
    flips = counts["wins", "loses"] + counts["loses", "wins"]
    # Whoever is shown first: the challenger itself in the first order, the other model in the second.
    decided = [score for one, other in both for score in (one, 1 - other) if score in (0.0, 1.0)]
    return FlipMatrix(
        judge=short_identity(judge),
        rival=rival,
        counts={(one, other): counts[one, other] for one in OUTCOMES for other in OUTCOMES},
        total=len(both),
        flips=flips / len(both),
        first=sum(decided) / len(decided) if decided else 0.5,
    )
