"""What a run will do, before anything runs: rows, calls, tokens, hours, cost, storage, and what is lacking."""

from opencharacter.pipelines.plan.build import make_plan
from opencharacter.pipelines.plan.figures import Figures, load_figures, shipped_text
from opencharacter.pipelines.plan.render import show_plan
from opencharacter.pipelines.plan.result import Plan

__all__ = ["Figures", "Plan", "load_figures", "make_plan", "shipped_text", "show_plan"]
