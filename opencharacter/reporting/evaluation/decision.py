"""The decision as the page shows it: the primary comparison with its margin, and the guards as lights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opencharacter.records.evaluation import GateDecision, GateFinding
from opencharacter.reporting.evaluation.forest import Bar, bar_of, place, round_up

Light = Literal["good", "bad", "open"]
_LIGHTS: dict[str, Light] = {"passed": "good", "not shown": "bad", "undecidable": "open"}
_SIGNS: dict[Light, str] = {"good": "✓", "bad": "✕", "open": "?"}


@dataclass(frozen=True)
class FindingView:
    """One comparison of the gate, and where it is drawn."""

    finding: GateFinding
    light: Light
    sign: str
    bar: Bar | None
    margin: float
    """Where the margin lies, in percent of the plot's width."""
    requirement: str


@dataclass(frozen=True)
class DecisionView:
    """The gate's decision."""

    decision: GateDecision
    light: Light
    sign: str
    headline: str
    primary: FindingView | None
    guards: list[FindingView]
    facts: list[tuple[str, str]]


def decision_view(decision: GateDecision, lower_is_better: frozenset[tuple[str, str]] = frozenset()) -> DecisionView:
    """The decision with its lines on one scale.

    Args:
        decision: What the gate said.
        lower_is_better: Suite and metric of comparisons in which less is better: their margins lie on the other side.
    """
    findings = ([decision.primary] if decision.primary else []) + list(decision.guards)
    ends = [
        abs(end)
        for finding in findings
        for end in (*(finding.interval or ()), finding.margin, finding.difference)
        if end is not None
    ]
    reach = round_up([value for value in ends if value]) if any(ends) else 1.0
    primary = _view(decision.primary, reach, is_guard=False, lower=lower_is_better) if decision.primary else None
    light = _LIGHTS[decision.outcome or ("passed" if decision.passed else "not shown")]
    return DecisionView(
        decision=decision,
        light=light,
        sign=_SIGNS[light],
        headline=headline(decision),
        primary=primary,
        guards=[_view(guard, reach, is_guard=True, lower=lower_is_better) for guard in decision.guards],
        facts=_facts(decision),
    )


def headline(decision: GateDecision) -> str:
    """The decision in one sentence."""
    rival = "the champion" if decision.against == "champion" else "the base model"
    if decision.challenger_digest == decision.champion_digest:
        return "This model is the champion already"
    if decision.passed:
        return f"The challenger beats {rival} and may become champion"
    if decision.outcome == "undecidable":
        return f"These data cannot decide between the challenger and {rival}"
    return f"The challenger is not shown to beat {rival}; it stays challenger"


def _view(finding: GateFinding, reach: float, *, is_guard: bool, lower: frozenset[tuple[str, str]]) -> FindingView:
    light = _LIGHTS[finding.outcome]
    # A primary's margin is a gain that must be shown, a guard's a loss that must be excluded.
    side = (-1 if is_guard else 1) * (-1 if (finding.suite, finding.metric) in lower else 1)
    low, high = finding.interval or (None, None)
    bar = None if finding.difference is None else bar_of(finding.difference, low, high, reach)
    if is_guard:
        requirement = f"loses less than {finding.margin:g}"
    else:
        requirement = f"gains more than {finding.margin:g}" if finding.margin else "gains"
    return FindingView(finding, light, _SIGNS[light], bar, place(side * finding.margin, reach), requirement)


def _facts(decision: GateDecision) -> list[tuple[str, str]]:
    ledger = decision.ledger
    facts = [
        ("questions", str(decision.n)),
        ("clusters", None if decision.clusters is None else str(decision.clusters)),
        ("smallest gain that can be shown", None if decision.mde is None else f"{decision.mde:.2f}"),
        ("judges", str(len(decision.judges)) if decision.judges else None),
        ("comparison on these items", f"No. {ledger.comparison}" if ledger else None),
        ("one-sided level", f"{100 * ledger.alpha:.2g} %" if ledger else None),
    ]
    return [(label, value) for label, value in facts if value is not None]


def light_count(views: Sequence[FindingView]) -> str:
    """How many guards passed, in words."""
    passed = sum(view.light == "good" for view in views)
    return f"{passed} of {len(views)} guards hold"
