"""Evaluations in MLflow: one run for each model, suite and judge, judged answers as traces, and the leaderboard."""

from opencharacter.reporting.published.leaderboard import Board, Entry, read_leaderboard
from opencharacter.reporting.published.runs import publish_evaluation
from opencharacter.reporting.published.table import leaderboard_csv, leaderboard_table

__all__ = ["Board", "Entry", "leaderboard_csv", "leaderboard_table", "publish_evaluation", "read_leaderboard"]
