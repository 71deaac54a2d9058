"""Moves the alias `champion`: by a gate's decision, or by force with a given reason (docs/design.md, decision 12)."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from opencharacter.errors import UserError
from opencharacter.records.evaluation import GateDecision
from opencharacter.registry.client import mlflow_client
from opencharacter.registry.registered_model import (
    CHALLENGER,
    CHAMPION,
    FORCED,
    GATE_TAG,
    GATED,
    PREVIOUS_TAG,
    REASON_TAG,
    RecordedDecision,
    RegisteredModel,
    RegistryConfig,
)
from opencharacter.registry.versions import find_champion, find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FORCE_HINT = "evaluate again, or promote with --force and a --reason"
_UNDECIDED = "no gate has decided on it"
_OTHER_WEIGHTS = "the gate decided on other weights"


def promote(
    config: RegistryConfig,
    version: int | None = None,
    *,
    decision: GateDecision | None = None,
    force_reason: str | None = None,
) -> RegisteredModel:
    """Make a version (none: the challenger) the champion and return it.

    It needs a decision that passed, for these very weights and against the present champion, or a `force_reason`.
    Both are recorded in the version's tags, as is the previous champion, to which a rollback goes. Without a decision
    the one recorded last holds. Promoting the champion changes nothing. Raises `UserError` where promotion is refused;
    a decision that did not pass is recorded all the same.
    """
    with mlflow_client() as client:
        candidate = find_version(client, config.model_name, CHALLENGER if version is None else int(version))
        champion = find_champion(client, config.model_name)
        if champion is not None and champion.version == candidate.version:
            return candidate
        reason = _force(force_reason) if force_reason is not None else _judge(client, candidate, champion, decision)
        _tag(client, candidate, REASON_TAG, reason)
        _tag(client, candidate, PREVIOUS_TAG, str(champion.version) if champion else "none")
        # Last, so that a champion always has its reason.
        client.set_registered_model_alias(candidate.name, CHAMPION, str(candidate.version))
        return find_version(client, candidate.name, candidate.version)


def find_objection(version: RegisteredModel, served_digest: str | None) -> str | None:
    """Why a version that an alias was moved to may not be served; None if it may.

    `promote` asks the same before it moves the alias, but anybody may move one in MLflow's page. A version may be
    served if it was forced (its tag `promotion_reason` has a reason that is no gate's), or if a gate's decision passed
    for these weights. Unless `promote` has moved the alias to it before, which makes the way back to an older champion
    free, that decision must also have compared it with what is served.

    Args:
        version: the version, with its tags.
        served_digest: digest of the weights that are served; None if nothing is.
    """
    reason = version.tags.get(REASON_TAG, "").strip()
    promoted = reason.startswith(GATED.strip())
    if not promoted and reason.removeprefix(FORCED.strip()).strip():
        return None
    if GATE_TAG not in version.tags:
        return _UNDECIDED
    try:
        decision = RecordedDecision.model_validate_json(version.tags[GATE_TAG])
    except ValidationError:
        return f"its tag `{GATE_TAG}` is not a gate's decision"
    if decision.challenger_digest != version.digest:
        return _OTHER_WEIGHTS
    if not decision.passed:
        return decision.reason
    if promoted or served_digest in (None, version.digest, decision.champion_digest):
        return None
    return "another version is served by now, and the gate did not compare with it"


def _force(reason: str) -> str:
    if not reason.strip():
        raise UserError("a forced promotion needs a reason, which is recorded with the version")
    return FORCED + reason.strip()


def _judge(
    client: "MlflowClient",
    candidate: RegisteredModel,
    champion: RegisteredModel | None,
    decision: GateDecision | RecordedDecision | None,
) -> str:
    what = f"version {candidate.version} of '{candidate.name}'"
    if decision is None:
        if GATE_TAG not in candidate.tags:
            raise UserError(f"{what} is not promoted: {_UNDECIDED}", hint=_FORCE_HINT)
        decision = RecordedDecision.model_validate_json(candidate.tags[GATE_TAG])
    if decision.challenger_digest != candidate.digest:
        raise UserError(f"{what} is not promoted: {_OTHER_WEIGHTS}", hint=_FORCE_HINT)
    _tag(client, candidate, GATE_TAG, decision.model_dump_json())
    if not decision.passed:
        raise UserError(f"{what} is not promoted: {decision.reason}", hint=_FORCE_HINT)
    if champion is not None and decision.champion_digest != champion.digest:
        raise UserError(
            f"{what} is not promoted: version {champion.version} is champion now, and the gate did not compare with it",
            hint=_FORCE_HINT,
        )
    return GATED + decision.reason


def _tag(client: "MlflowClient", model: RegisteredModel, key: str, value: str) -> None:
    client.set_model_version_tag(model.name, str(model.version), key, value)
