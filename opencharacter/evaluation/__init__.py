"""Evaluation: base against tuned on every cell of the split grid, and the gate before promotion."""

from opencharacter.evaluation.evaluating import evaluate
from opencharacter.evaluation.evaluation_config import EvaluateConfig, GateConfig, JudgeConfig
from opencharacter.evaluation.gate import gate
from opencharacter.evaluation.scorers import Measure, Measurement, Subject
from opencharacter.records.evaluation import AnswerRow, Difference, GateDecision, Score, ScoreRow, Summary

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
