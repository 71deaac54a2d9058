"""Estimates a run before it starts: rows, calls, tokens, hours, cost, storage, and what is missing."""

from opencharacter.planning.figures import Figures, load_figures, shipped_text
from opencharacter.planning.plan import Plan, make_plan
from opencharacter.planning.render import show_plan

__all__ = ["Figures", "Plan", "load_figures", "make_plan", "shipped_text", "show_plan"]
