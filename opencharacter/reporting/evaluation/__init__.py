"""The evaluation's page: the decision, every comparison behind it, samples, failures and methods."""

from opencharacter.reporting.evaluation.page import write_evaluation_page

__all__ = ["write_evaluation_page"]
