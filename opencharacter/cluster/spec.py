"""The cluster file: one YAML that says where and with what each step's pod runs."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter import __version__
from opencharacter.cluster.images import STEPS, ImageName, StepName, image_reference
from opencharacter.cluster.quantities import (
    NAMESPACE,
    Bytes,
    ClusterName,
    Cpu,
    Digest,
    Duration,
    EnvironmentName,
    KubernetesName,
    Registry,
    ResourceName,
    Tag,
    byte_count,
    cores,
)

RESERVED = (
    "HOME",
    "USER",
    "TMPDIR",
    "OPENCHARACTER_CACHE",
    "OPENCHARACTER_GPUS",
    "OPENCHARACTER_PROMPTS",
    "OPENCHARACTER_TRAINJOB",
)
"""Variables that each step's pod gets from other keys."""

_LABEL = 63
"""Characters that a label's value may have."""

_SECRET_LIKE = re.compile(r"(PASSWORD|TOKEN|SECRET|SECRET_ACCESS_KEY|ACCESS_KEY_ID|API_KEY|CREDENTIALS)$", re.I)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accelerator(_Strict):
    """GPUs of one node."""

    type: ResourceName = Field(
        default="nvidia.com/gpu", description="the extended resource that the device plugin offers"
    )
    count: Literal[1, 2, 4, 8, 16] = Field(description="per pod; other counts are refused by some KFP front ends")


class Toleration(_Strict):
    """A taint that the pod may run beside (core/v1 Toleration)."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _is_one_of_two_forms(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists has no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key needs operator Exists: it then tolerates every taint")
        return self


class AffinityTerm(_Strict):
    """One expression of a node affinity (core/v1 NodeSelectorRequirement)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = "In"
    values: list[str] = []
    weight: int | None = Field(default=None, ge=1, le=100, description="a preference of this weight, not a rule")

    @model_validator(mode="after")
    def _has_values_where_needed(self) -> "AffinityTerm":
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError(f"operator {self.operator} {'has no' if self.values else 'needs'} values")
        return self


class Retries(_Strict):
    """How often a step is tried again; the workspace keeps what it had finished.

    Argo's defaults on the cluster say whether that is after a failure, after the loss of its pod, or after both.
    """

    count: int = Field(default=0, ge=0, le=20)
    backoff: Duration = Field(default="30s", description="before the second attempt")
    factor: int = Field(default=2, ge=1, description="each further wait is so many times longer")
    within: Duration = Field(default="168h", description="no attempt begins later than this after the first began")


class Placement(_Strict):
    """What a step's pod asks for. Whatever is left out of a step comes from `defaults`."""

    cpu: Cpu | None = Field(default=None, description="request, cores; more is used where the node has it to spare")
    cpu_limit: Cpu | None = Field(default=None, description="cores at most; none: what the node has to spare")
    memory: Bytes | None = Field(default=None, description="request and limit, bytes")
    accelerator: Accelerator | None = None
    scratch: Bytes | None = Field(
        default=None, description="a generic ephemeral volume for working files; KFP 2 cannot request ephemeral storage"
    )
    shm: Bytes | None = Field(default=None, description="size of /dev/shm, counted as memory")
    node_selector: dict[str, str] | None = None
    tolerations: list[Toleration] | None = None
    affinity: list[AffinityTerm] | None = None
    queue: KubernetesName | None = Field(default=None, description="Kueue LocalQueue")
    priority: ClusterName | None = Field(
        default=None, description="Kueue WorkloadPriorityClass; {namespace} stands for the cluster's namespace"
    )
    spot: bool | None = Field(default=None, description="may run on nodes that `spot` of the cluster file describes")
    retries: Retries | None = None
    timeout: Duration | None = Field(default=None, description="a pod that runs for longer is ended")
    caching: bool | None = Field(default=None, description="KFP's cache; registry look-ups are never cached")
    nodes: int | None = Field(default=None, ge=1, le=64, description="sft only: more than 1 makes a TrainJob")

    @model_validator(mode="after")
    def _can_be_had(self) -> "Placement":
        if self.shm and self.memory and byte_count(self.shm) >= byte_count(self.memory):
            raise ValueError(f"shm {self.shm} is part of memory, which is {self.memory}")
        if self.cpu and self.cpu_limit and cores(self.cpu_limit) < cores(self.cpu):
            raise ValueError(f"cpu_limit {self.cpu_limit} is less than cpu, which is {self.cpu}")
        if self.priority and not self.queue:
            raise ValueError("priority is Kueue's, so it needs a queue")
        return self

    @property
    def gpus(self) -> int:
        """Accelerators of one pod."""
        return self.accelerator.count if self.accelerator else 0

    @property
    def planned_cores(self) -> float | None:
        """Cores that one pod can count on: its limit, else its request and one at least; none if neither is set."""
        if self.cpu_limit:
            return cores(self.cpu_limit)
        return max(1.0, cores(self.cpu)) if self.cpu else None


class Images(_Strict):
    """Where the images come from; the only place that a run takes their names from."""

    registry: Registry = Field(default="opencharacter", description="what stands before the image's name")
    tag: Tag = __version__
    digests: dict[ImageName, Digest] = Field(default={}, description="pin by digest; goes before the tag")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[KubernetesName] = []

    def reference(self, name: ImageName) -> str:
        """What a pod asks for, such as `registry.example.com/opencharacter/tools:0.1.0`."""
        return image_reference(name, registry=self.registry, tag=self.tag, digest=self.digests.get(name))


class SecretEnv(_Strict):
    """Environment variables that come from one Kubernetes Secret."""

    secret: KubernetesName
    keys: dict[str, EnvironmentName] = Field(min_length=1, description="key in the Secret: environment variable")
    steps: list[StepName] | None = Field(default=None, description="which steps get them; all, if left out")
    optional: bool = Field(default=False, description="the pod starts without the Secret, too")

    def serves(self, step: StepName) -> bool:
        """Whether a step gets the variables."""
        return self.steps is None or step in self.steps


class Spot(_Strict):
    """How nodes that may be taken away are recognised."""

    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class TrainerSettings(_Strict):
    """Kubeflow Trainer, for training over several nodes."""

    runtime: KubernetesName = Field(default="torch-distributed", description="ClusterTrainingRuntime")
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"


class Cluster(_Strict):
    """A cluster, as the pipeline sees it. `defaults` hold for every step, `steps` override them key by key."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    description: str = ""
    namespace: KubernetesName = Field(
        default="kubeflow-user", description="where runs and their Secrets and queues live"
    )
    service_account: KubernetesName | None = Field(default=None, description="of the pods; none: KFP's own")
    images: Images = Images()
    env: dict[EnvironmentName, str] = Field(
        default={}, description="plain variables of every step, such as MLFLOW_TRACKING_URI"
    )
    secrets: list[SecretEnv] = []
    prompts_config_map: KubernetesName | None = Field(
        default=None, description="the ConfigMap that holds the files of --prompts; mounted only with that option"
    )
    scratch_storage_class: KubernetesName | None = Field(default=None, description="none: the cluster's default")
    run_as_user: int = Field(default=65532, ge=1, description="numeric user and group of the step pods")
    spot: Spot = Spot()
    trainer: TrainerSettings = TrainerSettings()
    defaults: Placement = Placement()
    steps: dict[StepName, Placement] = {}

    @model_validator(mode="after")
    def _only_sft_has_nodes(self) -> "Cluster":
        places = {"defaults": self.defaults} | {f"steps.{step}": self.steps[step] for step in self.steps}
        for place, placement in places.items():
            if placement.nodes is not None and place != "steps.sft":
                raise ValueError(f"{place}.nodes: only the step 'sft' runs on several nodes")
        return self

    @model_validator(mode="after")
    def _each_variable_has_one_source(self) -> "Cluster":
        seen: set[tuple[str, StepName]] = set()
        for name in self.env:
            if name in RESERVED:
                raise ValueError(f"env.{name}: is set for every step already; leave it out")
            if _SECRET_LIKE.search(name):
                raise ValueError(f"env.{name}: looks like a secret; put it into a Kubernetes Secret, under `secrets`")
            seen |= {(name, step) for step in STEPS}
        for index, secret in enumerate(self.secrets):
            for name in secret.keys.values():
                given = {(name, step) for step in STEPS if secret.serves(step)}
                if name in RESERVED or given & seen:
                    raise ValueError(f"secrets.{index}.keys: {name} is set by something else, too")
                seen |= given
        return self

    @model_validator(mode="after")
    def _placements_hold_together(self) -> "Cluster":
        for step in STEPS:
            try:
                placement = self.placement(step)
            except ValueError as error:
                # Of the two halves each is right; pydantic's text begins with its own heading.
                reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
                raise ValueError(f"steps.{step}: with the defaults, {reason}") from error
            if len(placement.priority or "") > _LABEL:
                raise ValueError(
                    f"steps.{step}.priority: '{placement.priority}' is longer than the {_LABEL} characters of a label"
                )
            if placement.spot and not (self.spot.node_selector or self.spot.tolerations):
                raise ValueError(f"steps.{step}.spot: the section `spot` does not say which nodes these are")
        return self

    def placement(self, step: StepName) -> Placement:
        """What a step asks for: its own settings over the defaults, spot nodes' selector and tolerations included.

        A key that is null in the step takes back the default.
        """
        own = self.steps.get(step, Placement()).model_dump(exclude_unset=True)
        return self._completed(self.defaults.model_dump(exclude_unset=True) | own)

    def pod(self, step: StepName) -> Placement:
        """What the step's own pod asks for: its placement, but where that is a TrainJob's, whose pods are others.

        The pod that starts the TrainJob and watches it is placed by the defaults. It waits for the job, in the queue
        too, so it has no time-out and no queue of its own.
        """
        placement = self.placement(step)
        if (placement.nodes or 1) == 1:
            return placement
        launcher = self._completed(self.defaults.model_dump(exclude_unset=True) | {"accelerator": None, "spot": False})
        left_out = {"queue": None, "priority": None, "timeout": None, "shm": None}
        return launcher.model_copy(
            update={"retries": placement.retries, "caching": placement.caching, "scratch": None} | left_out
        )

    def _completed(self, merged: dict[str, Any]) -> Placement:
        if merged.get("priority"):
            merged["priority"] = merged["priority"].replace(NAMESPACE, self.namespace)
        if merged.get("spot"):
            merged["node_selector"] = (merged.get("node_selector") or {}) | self.spot.node_selector
            more = [toleration.model_dump(exclude_unset=True) for toleration in self.spot.tolerations]
            merged["tolerations"] = (merged.get("tolerations") or []) + more
        return Placement.model_validate(merged)
