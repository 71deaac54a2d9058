"""Settings of deployment."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from opencharacter.serving.names import too_long

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?$")]
"""A Kubernetes quantity: `500m`, `8`, `24Gi`."""


class DeployConfig(BaseModel):
    """The KServe InferenceService that `deploy` writes or applies."""

    model_config = ConfigDict(extra="forbid")

    service_name: str = Field(default="opencharacter", pattern=r"^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$")
    namespace: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="none: the pipeline's own; from outside a cluster, that of the kubeconfig's context",
    )
    apply: bool = Field(default=False, description="bring it into service; otherwise only write the manifest")
    gpus: Literal[0, 1, 2, 4, 8] = Field(default=1, description="of one node; each pod's weights are split over them")
    cpu: Quantity = Field(default="4", description="requested; more is used where the node has it to spare")
    memory: Quantity = Field(default="24Gi", description="request and limit")
    max_model_len: int | None = Field(default=None, ge=128, description="tokens")
    service_account: str = Field(
        default="opencharacter-serving",
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="of the server's pods; it holds the Secret that reads the weights. The chart makes it",
    )
    min_replicas: int = Field(default=1, ge=1, le=1000, description="pods at the least")
    max_replicas: int | None = Field(default=None, ge=1, le=1000, description="pods at the most; none: min_replicas")
    scale_on: Literal["cpu", "waiting"] = Field(
        default="cpu", description="cpu: KServe's HPA; waiting: requests in vLLM's queue, by KEDA from Prometheus"
    )
    scale_target: int | None = Field(
        default=None, ge=1, description="per pod: percent of the CPU request (80), or waiting requests (4)"
    )
    prometheus_url: str | None = Field(default=None, pattern=r"^https?://", description="for scale_on: waiting")
    ready_seconds: int = Field(
        default=1800,
        ge=30,
        description="for a version's pods to be ready: image, weights, engine; else the rollout fails",
    )
    grace_seconds: int = Field(
        default=330,
        ge=30,
        le=3600,
        description="for answers under way when a pod ends; above the chart's drainSeconds and preStopSeconds together",
    )
    canary_replicas: int | None = Field(
        default=None, ge=1, le=1000, description="pods of the next version before it takes over; none: as many as now"
    )
    canary_percent: int = Field(
        default=0, ge=0, le=99, description="of a Gateway's traffic for the next version, before it takes over"
    )
    canary_seconds: int = Field(default=600, ge=0, description="for which it gets that share")

    @model_validator(mode="after")
    def _name_fits(self) -> "DeployConfig":
        if problem := too_long(self.service_name, self.namespace):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _scaling_is_whole(self) -> "DeployConfig":
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, below min_replicas ({self.min_replicas})")
        if self.scale_on == "waiting" and self.prometheus_url is None:
            raise ValueError("scale_on 'waiting' needs prometheus_url, the address that KEDA asks")
        return self
