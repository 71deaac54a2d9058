import pytest
from pydantic import BaseModel
from support.registry_models import make_model

from opencharacter.errors import UserError
from opencharacter.registry import RegisteredModel, current_champion, promote, register, resolve


class Decision(BaseModel):
    passed: bool = True
    reason: str = "loss fell by 0.2"
    challenger_digest: str
    champion_digest: str | None = None


def decide(challenger: RegisteredModel, champion: RegisteredModel | None = None, **changes) -> Decision:
    return Decision(
        challenger_digest=challenger.digest, champion_digest=champion.digest if champion else None, **changes
    )


def test_a_passed_gate_moves_champion_and_remembers_the_previous(registry, workspace) -> None:
    first = register(registry, make_model(workspace, "one"))
    assert promote(registry, decision=decide(first)).tags["previous_champion"] == "none"
    second = register(registry, make_model(workspace, "two"))
    champion = promote(registry, version=second.version, decision=decide(second, first))

    assert champion == current_champion(registry) == resolve(f"models:/{registry.model_name}@champion")
    assert champion.version == 2
    assert champion.aliases == ("challenger", "champion")
    assert champion.tags["previous_champion"] == "1"
    assert champion.tags["promotion_reason"] == "gate: loss fell by 0.2"


def test_a_failed_gate_moves_nothing_and_is_recorded(registry, workspace) -> None:
    model = register(registry, make_model(workspace, "worse"))
    with pytest.raises(UserError, match=r"version 1 .* is not promoted: loss rose"):
        promote(registry, decision=decide(model, passed=False, reason="loss rose"))
    assert current_champion(registry) is None
    # The record stands for later calls without a decision.
    with pytest.raises(UserError, match="loss rose"):
        promote(registry)


def test_without_any_decision_only_force_promotes(registry, workspace) -> None:
    register(registry, make_model(workspace, "unjudged"))
    with pytest.raises(UserError, match="no gate has decided") as caught:
        promote(registry)
    assert "--force" in str(caught.value.hint)
    with pytest.raises(UserError, match="needs a reason"):
        promote(registry, force_reason="  ")
    assert current_champion(registry) is None
    assert promote(registry, force_reason="first release").tags["promotion_reason"] == "forced: first release"


def test_a_decision_holds_for_its_weights_and_its_champion_only(registry, workspace) -> None:
    first = register(registry, make_model(workspace, "one"))
    promote(registry, decision=decide(first))
    second = register(registry, make_model(workspace, "two"))
    with pytest.raises(UserError, match="other weights"):
        promote(registry, decision=decide(first))
    with pytest.raises(UserError, match="version 1 is champion now"):
        promote(registry, decision=decide(second))
    assert current_champion(registry) == resolve(f"models:/{registry.model_name}/1")


def test_promoting_the_champion_changes_nothing(registry, workspace) -> None:
    first = register(registry, make_model(workspace, "one"))
    champion = promote(registry, decision=decide(first))
    assert promote(registry, decision=decide(first, first, reason="already champion")) == champion


def test_rollback_is_a_forced_promotion_of_the_previous_version(registry, workspace) -> None:
    first = register(registry, make_model(workspace, "one"))
    promote(registry, decision=decide(first))
    second = register(registry, make_model(workspace, "two"))
    champion = promote(registry, decision=decide(second, first))
    back = promote(registry, version=int(champion.tags["previous_champion"]), force_reason="rollback: slow answers")
    assert (back.version, back.tags["previous_champion"]) == (1, "2")


def test_an_unknown_version_is_named(registry, workspace) -> None:
    register(registry, make_model(workspace, "one"))
    with pytest.raises(UserError, match="no version 9; versions: 1"):
        promote(registry, version=9, force_reason="typo")
