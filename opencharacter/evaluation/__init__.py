"""Evaluation: base against tuned on every cell of the split grid, and the gate before promotion."""

from opencharacter.evaluation.decide import gate
from opencharacter.evaluation.evaluating import evaluate
from opencharacter.evaluation.evaluation_config import EvaluateConfig, GateConfig, JudgeConfig
from opencharacter.evaluation.step import evaluate_suite
from opencharacter.records.evaluation import AnswerRow, Difference, GateDecision, Score, ScoreRow, Summary

__all__ = [
    "AnswerRow",
    "Difference",
    "EvaluateConfig",
    "GateConfig",
    "GateDecision",
    "JudgeConfig",
    "Score",
    "ScoreRow",
    "Summary",
    "evaluate",
    "evaluate_suite",
    "gate",
]
