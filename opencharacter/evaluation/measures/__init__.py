"""The ways to measure answers. `protocol` says how one is added."""

from typing import Any

from opencharacter.errors import UserError
from opencharacter.evaluation.measures.checks import ChecksMeasure
from opencharacter.evaluation.measures.likelihood import LikelihoodMeasure
from opencharacter.evaluation.measures.pairwise import PairwiseMeasure
from opencharacter.evaluation.measures.personagym import PersonagymMeasure
from opencharacter.evaluation.measures.protocol import MeasureBase
from opencharacter.evaluation.measures.refusal import RefusalMeasure
from opencharacter.evaluation.measures.rubric import RubricMeasure
from opencharacter.evaluation.measures.turns import TurnsMeasure

MEASURES: dict[str, type[MeasureBase[Any]]] = {
    "checks": ChecksMeasure,
    "pairwise": PairwiseMeasure,
    "likelihood": LikelihoodMeasure,
    "personagym": PersonagymMeasure,
    "refusal": RefusalMeasure,
    "rubric": RubricMeasure,
    "turns": TurnsMeasure,
}
"""The measures by `kind`."""


def make_measure(settings: Any) -> MeasureBase[Any]:
    """The measure of these settings."""
    if settings.kind not in MEASURES:
        raise UserError(f"no measure of kind '{settings.kind}'; there are: {', '.join(sorted(MEASURES))}")
    return MEASURES[settings.kind](settings)
