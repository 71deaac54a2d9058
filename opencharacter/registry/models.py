"""What the registry knows of a model version, and the tags that hold it in MLflow."""

from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.records.registry import RegisteredModel

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


class Verdict(Protocol):
    """What `promote` needs of a gate's decision."""

    @property
    def passed(self) -> bool:
        """Whether the challenger may become champion."""
        ...

    @property
    def reason(self) -> str:
        """One sentence with the figures."""
        ...

    @property
    def challenger_digest(self) -> str:
        """Digest of the weights that were judged."""
        ...

    @property
    def champion_digest(self) -> str | None:
        """Digest of the champion of that moment, if there was one."""
        ...

    def model_dump_json(self) -> str:
        """The decision as JSON, recorded with the version."""
        ...


class RecordedVerdict(BaseModel):
    """A `Verdict` read back from a version's tag."""

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
