"""The cluster profile: one YAML that says where and with what each step's pod runs."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from opencharacter import __version__
from opencharacter.components.images import ImageName

StepName = Literal[
    "ingest",
    "release",
    "profiles",
    "characters",
    "responses",
    "dialogues",
    "mix",
    "sft",
    "champion",
    "evaluate",
    "register",
    "gate",
    "report",
    "promote",
    "deploy",
]
"""The steps of the pipeline, each a folder of `components/`."""

STEPS: tuple[StepName, ...] = get_args(StepName)

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?$")]
"""A Kubernetes quantity: `500m`, `8`, `24Gi`."""

Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]+(s|m|h)$")]
"""`90s`, `10m`, `2h`."""

KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accelerator(_Strict):
    """GPUs of one node."""

    type: str = Field(default="nvidia.com/gpu", description="the extended resource that the device plugin offers")
    count: Literal[1, 2, 4, 8, 16] = Field(description="per pod; other counts are refused by some KFP front ends")


class Toleration(_Strict):
    """A taint that the pod may run beside (core/v1 Toleration)."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class AffinityTerm(_Strict):
    """One expression of a node affinity (core/v1 NodeSelectorRequirement)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = "In"
    values: list[str] = []
    weight: int | None = Field(default=None, ge=1, le=100, description="a preference of this weight, not a rule")


class Retries(_Strict):
    """How often a failed pod is tried again; the workspace keeps what it had finished."""

    count: int = Field(default=0, ge=0, le=20)
    backoff: Duration = "30s"
    factor: float = Field(default=2.0, ge=1)
    longest: Duration = "10m"


class Placement(_Strict):
    """What a step's pod asks for. Whatever is left out of a step comes from `defaults`."""

    cpu: Quantity | None = Field(default=None, description="request and limit, cores")
    memory: Quantity | None = Field(default=None, description="request and limit, bytes")
    accelerator: Accelerator | None = None
    scratch: Quantity | None = Field(
        default=None, description="a generic ephemeral volume for working files; KFP 2 cannot request ephemeral storage"
    )
    shm: Quantity | None = Field(default=None, description="size of /dev/shm, counted as memory")
    node_selector: dict[str, str] | None = None
    tolerations: list[Toleration] | None = None
    affinity: list[AffinityTerm] | None = None
    queue: KubernetesName | None = Field(default=None, description="Kueue LocalQueue")
    priority: KubernetesName | None = Field(default=None, description="Kueue WorkloadPriorityClass")
    spot: bool | None = Field(default=None, description="may run on nodes that `spot` of the profile describes")
    retries: Retries | None = None
    timeout: Duration | None = Field(default=None, description="a pod that runs for longer is ended")
    caching: bool | None = Field(default=None, description="KFP's cache; registry look-ups are never cached")
    nodes: int | None = Field(default=None, ge=1, le=64, description="sft only: more than 1 makes a TrainJob")


class Images(_Strict):
    """Where the images come from; the only place that a run takes their names from."""

    registry: str = Field(default="opencharacter", description="prefix, such as registry.example.com/opencharacter")
    tag: str = Field(default=__version__, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
    digests: dict[ImageName, Digest] = Field(default={}, description="pin by digest; goes before the tag")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[KubernetesName] = []

    @model_validator(mode="after")
    def _no_latest(self) -> "Images":
        if self.tag == "latest":
            raise ValueError("images.tag: 'latest' names no version; give the tag that was built")
        return self


class SecretEnv(_Strict):
    """Environment variables that come from one Kubernetes Secret."""

    secret: KubernetesName
    keys: dict[str, str] = Field(description="key in the Secret: environment variable")
    steps: list[StepName] | None = Field(default=None, description="which steps get them; all, if left out")


class Spot(_Strict):
    """How nodes that may be taken away are told apart."""

    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class TrainerSettings(_Strict):
    """Kubeflow Trainer, for training over several nodes."""

    runtime: KubernetesName = Field(default="torch-distributed", description="ClusterTrainingRuntime")
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"


class ClusterProfile(_Strict):
    """A cluster, as the pipeline sees it. `defaults` hold for every step, `steps` override them key by key."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    description: str = ""
    namespace: KubernetesName = Field(default="kubeflow-user", description="where runs, queues and TrainJobs live")
    images: Images = Images()
    env: dict[str, str] = Field(default={}, description="plain variables of every step, such as MLFLOW_TRACKING_URI")
    secrets: list[SecretEnv] = []
    prompts_config_map: KubernetesName | None = Field(
        default=None, description="a ConfigMap whose files replace prompt templates of the same name"
    )
    scratch_storage_class: KubernetesName | None = Field(default=None, description="none: the cluster's default")
    run_as_user: int = Field(default=65532, ge=1, description="numeric user and group of the step pods")
    spot: Spot = Spot()
    trainer: TrainerSettings = TrainerSettings()
    defaults: Placement = Placement()
    steps: dict[StepName, Placement] = {}

    @model_validator(mode="after")
    def _only_sft_has_nodes(self) -> "ClusterProfile":
        for name, placement in {"defaults": self.defaults, **self.steps}.items():
            if placement.nodes is not None and name != "sft":
                raise ValueError(f"{name}.nodes: only the step 'sft' runs on several nodes")
        return self

    def placement(self, step: StepName) -> Placement:
        """What a step asks for: its own settings over the defaults, spot nodes' selector and tolerations included."""
        own = self.steps.get(step, Placement()).model_dump(exclude_none=True)
        merged: dict[str, Any] = self.defaults.model_dump(exclude_none=True) | own
        if merged.get("spot"):
            merged["node_selector"] = merged.get("node_selector", {}) | self.spot.node_selector
            more = [toleration.model_dump(exclude_none=True) for toleration in self.spot.tolerations]
            merged["tolerations"] = merged.get("tolerations", []) + more
        return Placement.model_validate(merged)
