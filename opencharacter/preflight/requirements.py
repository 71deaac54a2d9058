"""What a run, or a platform engineer, requires of a cluster."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.images import STEP_IMAGES
from opencharacter.cluster.quantities import Bytes, Cpu
from opencharacter.cluster.spec import AffinityTerm, Cluster, Placement, Toleration
from opencharacter.cluster.steps import Steps

Part = Literal["kserve", "pipelines", "trainer", "kueue"]


class SecretRequirement(BaseModel):
    """A Secret, and the keys that it must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    keys: tuple[str, ...] = ()


class PodRequirement(BaseModel):
    """What pods ask of a node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what messages call it: `step sft`")
    count: int = Field(default=1, ge=1, description="pods that run together")
    requests: dict[str, str] = Field(description="resource to Kubernetes quantity")
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[AffinityTerm, ...] = Field(default=(), description="rules, not preferences")
    of_run: bool = Field(default=True, description="of a run's step, for which an autoscaler may make a node")


class Requirements(BaseModel):
    """Everything that a cluster must offer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    parts: tuple[Part, ...] = ()
    gpus: Literal[0, 1, 2, 4, 8, 16] = Field(default=0, description="on one node")
    gpu_type: str = "nvidia.com/gpu"
    cpu: Cpu | None = Field(default=None, description="cores on one node")
    memory: Bytes | None = Field(default=None, description="on one node, with the cores and the GPUs")
    pods: tuple[PodRequirement, ...] = Field(default=(), description="each kind of pod that must find room")
    secrets: tuple[SecretRequirement, ...] = ()
    queues: tuple[str, ...] = Field(default=(), description="Kueue LocalQueues of the namespace")
    priorities: tuple[str, ...] = Field(default=(), description="Kueue WorkloadPriorityClasses of the cluster")
    retries: int = Field(default=0, description="the most further attempts that a step has; 0: not checked")
    runtime: str | None = Field(default=None, description="a ServingRuntime that must serve our model format")
    images: tuple[str, ...] = Field(default=(), description="references that a registry must hold")
    step_images: tuple[str, ...] = Field(default=(), description="images that must hold this library besides")
    bucket: str | None = Field(default=None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://BUCKET/PREFIX")

    @property
    def all_pods(self) -> tuple[PodRequirement, ...]:
        """Every kind of pod, the one that `gpus`, `cpu` and `memory` describe included: it may run on any node."""
        asked = _requests(self.cpu, self.memory, self.gpus, self.gpu_type)
        if not asked:
            return self.pods
        anywhere = (Toleration(operator="Exists"),)
        return (PodRequirement(name="one pod", requests=asked, tolerations=anywhere, of_run=False), *self.pods)


def requirements_of(steps: Steps, cluster: Cluster) -> Requirements:
    """What these steps require of a cluster.

    Left out: Secrets that may be absent, and images that nodes never pull.
    """
    placements = [step.placement for step in steps.values()]
    queues = sorted({placement.queue for placement in placements if placement.queue})
    priorities = sorted({placement.priority for placement in placements if placement.priority})
    parts: list[Part] = ["pipelines"]
    parts += ["trainer"] if any(step.nodes > 1 for step in steps.values()) else []
    parts += ["kueue"] if queues else []
    secrets: dict[str, tuple[str, ...]] = dict.fromkeys(cluster.images.pull_secrets, ())
    for source in cluster.secrets:
        if not source.optional:
            secrets[source.secret] = (*secrets.get(source.secret, ()), *source.keys)
    pulled = sorted(set(STEP_IMAGES.values())) if cluster.images.pull_policy != "Never" else ()
    return Requirements(
        namespace=cluster.namespace,
        parts=tuple(parts),
        pods=_pods(steps),
        secrets=tuple(SecretRequirement(name=name, keys=keys) for name, keys in secrets.items()),
        queues=tuple(queues),
        priorities=tuple(priorities),
        retries=max(placement.retries.count if placement.retries else 0 for placement in placements),
        step_images=tuple(cluster.images.reference(name) for name in pulled),
    )


def _pods(steps: Steps) -> tuple[PodRequirement, ...]:
    """The kinds of pods, each with the steps that have it."""
    kinds: dict[str, tuple[PodRequirement, list[str]]] = {}
    for name, step in steps.items():
        pods = [_pod(step.launcher)] + ([_pod(step.placement, step.nodes)] if step.nodes > 1 else [])
        for pod in pods:
            kinds.setdefault(pod.model_dump_json(), (pod, []))[1].append(name)
    return tuple(
        pod.model_copy(update={"name": f"{_noun(pod, len(names))} {', '.join(names)}"}) for pod, names in kinds.values()
    )


def _noun(pod: PodRequirement, steps: int) -> str:
    noun = "the TrainJob of step" if pod.count > 1 else "step"
    return f"{noun}{'s' * (steps > 1)}"


def _pod(placement: Placement, count: int = 1) -> PodRequirement:
    gpu_type = placement.accelerator.type if placement.accelerator else ""
    return PodRequirement(
        name="",
        count=count,
        # Kubernetes takes a limit for the request where there is none.
        requests=_requests(placement.cpu or placement.cpu_limit, placement.memory, placement.gpus, gpu_type),
        node_selector=placement.node_selector or {},
        tolerations=tuple(placement.tolerations or ()),
        affinity=tuple(term for term in placement.affinity or () if term.weight is None),
    )


def _requests(cpu: str | None, memory: str | None, gpus: int, gpu_type: str) -> dict[str, str]:
    asked = {"cpu": cpu, "memory": memory, gpu_type: str(gpus) if gpus else None}
    return {name: quantity for name, quantity in asked.items() if quantity}
