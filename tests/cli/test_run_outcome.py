"""What `opencharacter run` says of the model at its end."""

import pytest

from opencharacter.cli.run import outcome
from opencharacter.records.evaluation import GateDecision
from opencharacter.reporting import ReportInputs
from opencharacter.storage import Artifact


def run_with(*, passed: bool, champion: str | None) -> ReportInputs:
    decision = GateDecision(
        passed=passed,
        metric="loss",
        against="champion" if champion else "base",
        confidence=0.95,
        n=22,
        reason="loss -0.005 against base",
        challenger_digest="ours",
        champion_digest=champion,
    )
    return ReportInputs(
        name="mine",
        characters=Artifact(kind="characters", key="k", uri="/nowhere", digest="d"),
        decision=decision.model_dump(mode="json"),
        registered={"name": "mine", "version": 3},
    )


@pytest.mark.parametrize(
    ("passed", "champion", "told"),
    [
        (True, None, "beats the base model and may become champion"),
        (False, "theirs", "not shown to beat the present champion; it stays challenger"),
        (True, "ours", "is the champion already"),
    ],
)
def test_the_model_and_the_gate_s_decision_are_named(passed: bool, champion: str | None, told: str) -> None:
    model, gate = outcome(run_with(passed=passed, champion=champion))
    assert model.endswith("models:/mine/3")
    assert told in gate
    assert "loss -0.005 against base" in gate


def test_what_cannot_be_decided_is_not_called_a_failure() -> None:
    undecidable = run_with(passed=False, champion="theirs")
    undecidable.decision["outcome"] = "undecidable"
    _, gate = outcome(undecidable)
    assert "cannot be decided; it stays challenger" in gate
