"""Evaluation: base against tuned on every cell of the split grid, and the gate before promotion."""

from opencharacter.evaluation.config import EvaluateConfig, GateConfig, JudgeConfig
from opencharacter.evaluation.gate import gate
from opencharacter.evaluation.measures import Measure, Measurement, Subject
from opencharacter.evaluation.models import AnswerRow, Difference, GateDecision, Score, ScoreRow, Summary
from opencharacter.evaluation.step import evaluate

__all__ = [
    "AnswerRow",
    "Difference",
    "EvaluateConfig",
    "GateConfig",
    "GateDecision",
    "JudgeConfig",
    "Measure",
    "Measurement",
    "Score",
    "ScoreRow",
    "Subject",
    "Summary",
    "evaluate",
    "gate",
]
