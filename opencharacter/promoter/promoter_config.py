"""Settings of the promoter."""

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.serving import DeployConfig

SECRET_VARIABLE = "OPENCHARACTER_WEBHOOK_SECRET"
"""Holds the secret that MLflow signs its deliveries with."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WatchedModel(_Settings):
    """A registered model and the service that follows its alias."""

    model: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="name of the registered model")
    alias: str = Field(default="champion", pattern=r"^[A-Za-z0-9._-]+$")
    deploy: DeployConfig = Field(default_factory=DeployConfig, description="the InferenceService; it is always applied")


class LeaseConfig(_Settings):
    """The Lease that lets one replica act at a time."""

    name: str = Field(default="opencharacter-promoter", pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    duration_s: int = Field(default=60, ge=15, description="seconds without a renewal after which another may take it")


class WebhookConfig(_Settings):
    """MLflow's webhook, which makes a move of the alias known at once."""

    name: str = Field(default="opencharacter-promoter", pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?$")
    url: str = Field(pattern=r"^https?://", description="of this process: http://HOST:8080/webhooks/mlflow")
    manage: bool = Field(default=True, description="make the webhook in MLflow and keep it right; off: you do")


class PromoterConfig(_Settings):
    """What the promoter watches and how."""

    models: list[WatchedModel] = Field(min_length=1)
    require_gate: bool = Field(default=True, description="refuse versions without a passed gate or a forced promotion")
    poll_s: float = Field(default=30, ge=1, description="seconds between two queries of the registry")
    retry_s: float = Field(default=300, ge=1, description="seconds until a failed version is tried again; then doubled")
    retry_max_s: float = Field(default=3600, ge=1, description="seconds between two tries at the most")
    lease: LeaseConfig = Field(default_factory=LeaseConfig)
    webhook: WebhookConfig | None = Field(default=None, description="none: polling only")
    host: str = "0.0.0.0"
    port: int = Field(default=8080, ge=0, le=65535, description="of /healthz, /metrics and /webhooks/mlflow")

    @model_validator(mode="after")
    def _one_owner_each(self) -> "PromoterConfig":
        services = Counter((watched.deploy.namespace, watched.deploy.service_name) for watched in self.models)
        for (_, name), count in services.items():
            if count > 1:
                raise ValueError(f"models: {count} have the service '{name}'; each needs its own deploy.service_name")
        return self
