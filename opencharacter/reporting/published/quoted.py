"""Figures that others printed, to be quoted beside ours and never ranked with them."""

from typing import NamedTuple

SOURCE = "OpenCharacter, arXiv:2501.15427, judged by gpt-4o-2024-08-06 with the authors' code; 200 characters"
TASKS = (
    "expected_action",
    "toxicity_control",
    "linguistic_habits",
    "persona_consistency",
    "action_justification",
)


class Quoted(NamedTuple):
    """One printed row: PersonaScore, and the five tasks in the order of `TASKS`."""

    model: str
    score: float
    tasks: tuple[float, ...]


_LIGHT = (
    Quoted("Llama-3-70B-Instruct", 4.72, (4.73, 4.75, 4.38, 4.79, 4.97)),
    Quoted("OpenCharacter-8B", 4.66, (4.70, 4.92, 4.32, 4.54, 4.85)),
    Quoted("Llama-3-8B-Instruct", 4.62, (4.80, 4.76, 4.05, 4.64, 4.85)),
    Quoted("gpt-4o-2024-08-06", 4.60, (4.81, 4.95, 3.75, 4.68, 4.85)),
)
_FULL = (
    Quoted("Llama-3-70B-Instruct", 4.58, (4.59, 4.59, 4.33, 4.72, 4.64)),
    Quoted("gpt-4o-2024-08-06", 4.53, (4.55, 4.97, 3.80, 4.72, 4.64)),
    Quoted("OpenCharacter-8B", 4.52, (4.47, 4.78, 4.27, 4.51, 4.58)),
    Quoted("Llama-3-8B-Instruct", 4.45, (4.52, 4.58, 4.05, 4.54, 4.57)),
)


def quoted_rows(suite: str) -> tuple[Quoted, ...]:
    """The paper's rows for a suite of PersonaGym; none for others."""
    if not suite.startswith("personagym"):
        return ()
    return _LIGHT if "light" in suite else _FULL
