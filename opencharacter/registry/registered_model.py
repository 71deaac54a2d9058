"""What the registry holds of a model version, the tags that hold it in MLflow, and the registry's settings."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.records.registry import RegisteredModel


class RegistryConfig(BaseModel):
    """Where models are registered. The server's address comes from MLFLOW_TRACKING_URI."""

    model_config = ConfigDict(extra="forbid")

    model_name: str = Field(default="opencharacter", pattern=r"^[A-Za-z0-9._-]+$")
    experiment: str = "opencharacter"
    traces: int = Field(
        default=20, ge=0, description="questions of each suite whose answers become traces; 0 for MLflow before 3"
    )


CHALLENGER = "challenger"
"""Alias of the version that was registered last."""
CHAMPION = "champion"
"""Alias of the version that is served; moved by `promote` only."""

URI_TAG = "weights_uri"
DIGEST_TAG = "weights_digest"
GATE_TAG = "gate"
"""The last gate decision that was presented for the version, as JSON."""
PREVIOUS_TAG = "previous_champion"
"""Version that was champion until this one became it: where a rollback goes."""
REASON_TAG = "promotion_reason"
"""`gate: ...` or `forced: ...`, as `promote` writes it; a text of another form counts as forced."""
SMOKE_TAG = "smoke_question"
"""What a deployment is asked before it serves: `{"character": {...}, "question": "..."}`."""

DEPLOYMENT_TAG = "deployment"
"""What came of bringing the service to the version (`Deployment`), as JSON."""

FORCED, GATED = "forced: ", "gate: "
"""How `REASON_TAG` starts."""


def registered_model(version: Any, aliases: tuple[str, ...]) -> RegisteredModel:
    """A version as MLflow describes it; MLflow's model version does not always know its aliases."""
    tags = dict(version.tags)
    return RegisteredModel(
        name=version.name,
        version=int(version.version),
        uri=tags.get(URI_TAG, version.source),
        digest=tags.get(DIGEST_TAG, ""),
        aliases=aliases,
        tags=tags,
    )


class RecordedDecision(BaseModel):
    """What `promote` needs of a gate's decision, read back from a version's tag, whichever version wrote it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    passed: bool
    reason: str
    challenger_digest: str
    champion_digest: str | None = None


class Deployment(BaseModel):
    """What came of bringing a service to a version: kept with the version, read by people and by the promoter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["serving", "failed", "refused", "replaced"]
    reason: str = ""
    service: str = Field(description="NAMESPACE/NAME of the InferenceService")
    time: datetime
    attempts: int = Field(default=0, ge=0, description="rollouts of this version that failed one after the other")
    settings: str = Field(default="", description="digest of the settings that it was tried with")
