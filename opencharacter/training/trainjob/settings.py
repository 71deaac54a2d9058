"""Where a training over several nodes runs: what the cluster file says, carried in one environment variable."""

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError

TRAINJOB_VARIABLE = "OPENCHARACTER_TRAINJOB"
"""Environment variable with a `TrainJobSettings` as JSON: where it is set, the sft step trains in a TrainJob."""


class SecretVariable(BaseModel):
    """An environment variable that comes from a Kubernetes Secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    secret: str
    key: str
    optional: bool = Field(default=False, description="the pod starts without the Secret, too")


class TrainJobSettings(BaseModel):
    """Pods of a Kubeflow Trainer v2 TrainJob, one a node. Quantities are Kubernetes'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    nodes: int = Field(ge=1)
    runtime: str = "torch-distributed"
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    gpus_per_node: int = Field(default=0, ge=0)
    gpu_resource: str = "nvidia.com/gpu"
    cpu: str | None = Field(default=None, description="request")
    cpu_limit: str | None = None
    memory: str | None = Field(default=None, description="request and limit")
    memory_needed: str | None = Field(default=None, description="of each node, an estimate: for messages only")
    shm: str | None = Field(default=None, description="size of /dev/shm; NCCL passes data between a pod's GPUs there")
    scratch: str | None = Field(default=None, description="size of a volume for checkpoints; none: the node's disk")
    scratch_storage_class: str | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = Field(default=[], description="core/v1 Toleration")
    affinity: dict[str, Any] | None = Field(default=None, description="core/v1 Affinity")
    queue: str | None = Field(default=None, description="Kueue LocalQueue")
    priority: str | None = Field(default=None, description="Kueue WorkloadPriorityClass")
    env: dict[str, str] = {}
    secrets: list[SecretVariable] = []
    prompts_config_map: str | None = None
    pull_secrets: list[str] = []
    service_account: str | None = None
    user: int = Field(default=65532, ge=1, description="numeric user and group")

    @classmethod
    def from_environment(cls) -> "TrainJobSettings | None":
        """The settings of this step's environment, none where it trains in its own pod."""
        text = os.environ.get(TRAINJOB_VARIABLE)
        if not text:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"{TRAINJOB_VARIABLE}: {error}", hint="compile the pipeline with the version that the images hold"
            ) from error
