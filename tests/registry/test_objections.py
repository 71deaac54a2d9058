"""Which versions may be served: those that `promote` promoted, and aliases moved by hand in MLflow's page."""

import json
from typing import Any

import pytest
from mlflow import MlflowClient
from support.registry_models import make_model

from opencharacter.records.evaluation import GateDecision
from opencharacter.registry import RegisteredModel, find_alias, find_objection, promote, register

OWN, SERVED, OTHER = "a" * 64, "b" * 64, "c" * 64


def version(gate: dict[str, Any] | str | None = None, reason: str | None = None) -> RegisteredModel:
    tags = {} if gate is None else {"gate": gate if isinstance(gate, str) else json.dumps(gate)}
    tags |= {} if reason is None else {"promotion_reason": reason}
    return RegisteredModel(name="m", version=3, uri="s3://b/m", digest=OWN, tags=tags)


def decision(**changes: Any) -> dict[str, Any]:
    return {
        "passed": True, "reason": "loss fell", "challenger_digest": OWN, "champion_digest": SERVED, "n": 9,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (decision(), None),
        (decision(champion_digest=OTHER), "gate: loss fell"),  # promoted once: the way back to it is free
        (None, "forced: first release"),
        (decision(passed=False), "forced: the tone matters more"),
        (None, "written by hand in MLflow's page"),
    ],
)
def test_a_passed_gate_or_a_reason_lets_a_version_serve(gate: dict[str, Any] | None, reason: str | None) -> None:
    assert find_objection(version(gate, reason), SERVED) is None


@pytest.mark.parametrize(
    ("gate", "reason", "objection"),
    [
        (None, None, "no gate has decided"),
        (None, "  ", "no gate has decided"),
        (None, "forced:  ", "no gate has decided"),
        (None, "gate: loss fell", "no gate has decided"),
        (decision(passed=False, reason="loss rose"), None, "loss rose"),
        (decision(passed=False, reason="loss rose"), "gate: loss fell", "loss rose"),
        (decision(challenger_digest=OTHER), None, "other weights"),
        (decision(challenger_digest=OTHER), "gate: loss fell", "other weights"),
        (decision(champion_digest=OTHER), None, "did not compare with it"),
        (decision(champion_digest=None), None, "did not compare with it"),
        ("{", None, "not a gate's decision"),
        ('{"passed": "perhaps"}', None, "not a gate's decision"),
    ],
)
def test_other_versions_are_objected_to(gate: Any, reason: str | None, objection: str) -> None:
    assert objection in str(find_objection(version(gate, reason), SERVED))


def test_where_nothing_is_served_there_is_nothing_to_compare_with() -> None:
    assert find_objection(version(decision(champion_digest=OTHER)), None) is None
    assert find_objection(version(decision(champion_digest=OTHER)), OWN) is None


def test_what_promote_does_is_accepted_and_a_move_by_hand_is_looked_at(registry, workspace, mlflow_uri) -> None:
    client = MlflowClient(mlflow_uri)
    first = register(registry, make_model(workspace, "one"))
    passed = decision(challenger_digest=first.digest, champion_digest=None) | {
        "metric": "loss",
        "against": "base",
        "confidence": 0.95,
    }
    promote(registry, decision=GateDecision.model_validate(passed))
    second = register(registry, make_model(workspace, "two"))
    promote(registry, force_reason="asked for")
    assert find_objection(find_alias(registry.model_name, "champion"), first.digest) is None
    # Back by hand, as a rollback in MLflow's page is.
    client.set_registered_model_alias(registry.model_name, "champion", "1")
    back = find_alias(registry.model_name, "champion")
    assert (back.version, back.aliases) == (1, ("champion",))
    assert find_objection(back, second.digest) is None
    # A version that nobody judged.
    register(registry, make_model(workspace, "three"))
    client.set_registered_model_alias(registry.model_name, "champion", "3")
    assert find_objection(find_alias(registry.model_name, "champion"), first.digest) == "no gate has decided on it"


def test_an_alias_that_is_gone_is_no_version(registry, workspace, mlflow_uri) -> None:
    assert find_alias(registry.model_name, "champion") is None
    register(registry, make_model(workspace, "one"))
    assert find_alias(registry.model_name, "champion") is None
    assert find_alias(registry.model_name, "challenger").version == 1
