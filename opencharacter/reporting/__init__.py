"""The reports of a run and of an evaluation: each is one HTML file that needs no network."""

from opencharacter.reporting.evaluation import write_evaluation_page
from opencharacter.reporting.inputs import ModelAnswer, ReportInputs, ServedAnswer
from opencharacter.reporting.report import make_report, write_report
from opencharacter.reporting.scores import describe_decision

__all__ = [
    "ModelAnswer",
    "ReportInputs",
    "ServedAnswer",
    "describe_decision",
    "make_report",
    "write_evaluation_page",
    "write_report",
]
