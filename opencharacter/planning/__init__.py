"""What a run will do, before anything runs: rows, calls, tokens, hours, cost, storage, and what is lacking."""

from opencharacter.planning.build import make_plan
from opencharacter.planning.figures import Figures, load_figures, shipped_text
from opencharacter.planning.render import show_plan
from opencharacter.planning.result import Plan

__all__ = ["Figures", "Plan", "load_figures", "make_plan", "shipped_text", "show_plan"]
