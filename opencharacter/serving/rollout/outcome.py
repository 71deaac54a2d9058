"""How a rollout ends: what is in service, or why the next version is not."""

from dataclasses import dataclass
from typing import Literal

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.serving.names import predictor_service

Reason = Literal["refused", "no-runtime", "name-too-long", "not-ready", "bad-answer", "cluster"]
"""For machines: `refused` by the API server or a webhook, `no-runtime` for the model's format, `name-too-long`,
`not-ready` within the time, `bad-answer` to the smoke question, or none, `cluster` (its API cannot be used, or the
InferenceService is deleted)."""


@dataclass(frozen=True)
class Rollout:
    """What is in service after a rollout."""

    service: str
    """Name of the InferenceService, and of the Service with the stable address."""
    namespace: str
    predictor: str
    """Name of the current predictor (`v3`); empty for the first one, which KServe calls after the service alone."""
    version: int
    changed: bool
    """Whether this call changed the InferenceService."""
    address: str
    """URL inside the cluster, the same for all versions, without a path."""

    @property
    def deployment(self) -> str:
        """Name of the Deployment (and of KServe's own Service)."""
        return predictor_service(self.service, self.predictor)


@dataclass(frozen=True)
class ServedVersion:
    """The version that an InferenceService serves, as its annotations say."""

    model: str
    version: int
    digest: str
    predictor: str


class RolloutRefused(UserError):
    """The rollout can't begin: nothing was changed. `reason` is for machines."""

    def __init__(self, message: str, *, reason: Reason, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason: Reason = reason


class RolloutFailed(OpenCharacterError):
    """The next version did not come into service; the one before, if there was one, still serves."""

    def __init__(self, message: str, *, reason: Reason, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason: Reason = reason
