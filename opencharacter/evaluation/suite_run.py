"""A suite in the making: what is asked and measured, and what was found so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from opencharacter.evaluation.answers import SystemPrompts
from opencharacter.evaluation.measures.protocol import MeasureBase
from opencharacter.evaluation.subjects import Judge
from opencharacter.evaluation.suite import Suite
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, ScoreRow
from opencharacter.records.judges import CanaryResult
from opencharacter.templates import Template


@dataclass
class SuiteRun:
    """A suite in the making."""

    suite: Suite
    measures: Sequence[MeasureBase[Any]]
    judges: Sequence[Judge]
    """Those that score."""
    fallback: Template
    key: str
    answers: list[AnswerRow] = field(default_factory=list)
    scores: list[ScoreRow] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    canaries: dict[str, CanaryResult] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether a judge scores answers."""
        return bool(self.judges) and any(each.needs_judges and each.needs_answers for each in self.measures)

    @cached_property
    def items(self) -> list[Item]:
        """What is asked."""
        return self.suite.items()

    @cached_property
    def prompts(self) -> SystemPrompts:
        """The system messages."""
        return SystemPrompts(self.suite, self.suite.characters(), self.fallback)

    @property
    def answered(self) -> list[Item]:
        """The items whose answers some measure needs."""
        needing = [measure for measure in self.measures if measure.needs_answers]
        return [item for item in self.items if any(measure.takes(item) for measure in needing)]
