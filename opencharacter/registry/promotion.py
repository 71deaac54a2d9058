"""Moving the alias `champion`: only with a gate's decision, or by force with a recorded reason (DESIGN decision 12)."""

from typing import TYPE_CHECKING

from opencharacter.errors import UserError
from opencharacter.registry.client import mlflow_client
from opencharacter.registry.config import RegistryConfig
from opencharacter.registry.models import (
    CHALLENGER,
    CHAMPION,
    GATE_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    RecordedVerdict,
    RegisteredModel,
    Verdict,
)
from opencharacter.registry.versions import find_champion, find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FORCE_HINT = "evaluate again, or promote with --force and a --reason"


def promote(
    config: RegistryConfig,
    version: int | None = None,
    *,
    decision: Verdict | None = None,
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


def _force(reason: str) -> str:
    if not reason.strip():
        raise UserError("a forced promotion needs a reason, which is recorded with the version")
    return f"forced: {reason.strip()}"


def _judge(
    client: "MlflowClient", candidate: RegisteredModel, champion: RegisteredModel | None, decision: Verdict | None
) -> str:
    what = f"version {candidate.version} of '{candidate.name}'"
    if decision is None:
        if GATE_TAG not in candidate.tags:
            raise UserError(f"{what} is not promoted: no gate has decided on it", hint=_FORCE_HINT)
        decision = RecordedVerdict.model_validate_json(candidate.tags[GATE_TAG])
    if decision.challenger_digest != candidate.digest:
        raise UserError(f"{what} is not promoted: the gate decided on other weights", hint=_FORCE_HINT)
    _tag(client, candidate, GATE_TAG, decision.model_dump_json())
    if not decision.passed:
        raise UserError(f"{what} is not promoted: {decision.reason}", hint=_FORCE_HINT)
    if champion is not None and decision.champion_digest != champion.digest:
        raise UserError(
            f"{what} is not promoted: version {champion.version} is champion now, and the gate did not compare with it",
            hint=_FORCE_HINT,
        )
    return f"gate: {decision.reason}"


def _tag(client: "MlflowClient", model: RegisteredModel, key: str, value: str) -> None:
    client.set_model_version_tag(model.name, str(model.version), key, value)
