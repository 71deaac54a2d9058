"""What a cluster is asked for."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.components.images import STEP_IMAGES
from opencharacter.pipelines.cluster import STEPS, ClusterProfile

Part = Literal["kserve", "pipelines", "trainer", "kueue"]


class SecretNeed(BaseModel):
    """A Secret, and the keys that it must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    keys: tuple[str, ...] = ()


class Needs(BaseModel):
    """All that is looked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    parts: tuple[Part, ...] = ()
    gpus: Literal[0, 1, 2, 4, 8, 16] = Field(default=0, description="on one node")
    gpu_type: str = "nvidia.com/gpu"
    secrets: tuple[SecretNeed, ...] = ()
    queues: tuple[str, ...] = Field(default=(), description="Kueue LocalQueues of the namespace")
    runtime: str | None = Field(default=None, description="a ServingRuntime that must serve our model format")
    images: tuple[str, ...] = Field(default=(), description="references that a registry must hold")
    step_images: tuple[str, ...] = Field(default=(), description="images that must hold this library besides")
    bucket: str | None = Field(default=None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://BUCKET/PREFIX")


def needs_of(profile: ClusterProfile) -> Needs:
    """What the steps of a run with this profile ask the cluster for.

    Left out: Secrets that may be absent, and images that nodes never pull.
    """
    placements = [profile.placement(step) for step in STEPS]
    largest = max(placements, key=lambda placement: placement.gpus)
    queues = sorted({placement.queue for placement in placements if placement.queue})
    parts: list[Part] = ["pipelines"]
    parts += ["trainer"] if any((placement.nodes or 1) > 1 for placement in placements) else []
    parts += ["kueue"] if queues else []
    secrets: dict[str, tuple[str, ...]] = dict.fromkeys(profile.images.pull_secrets, ())
    for source in profile.secrets:
        if not source.optional:
            secrets[source.secret] = (*secrets.get(source.secret, ()), *source.keys)
    pulled = sorted(set(STEP_IMAGES.values())) if profile.images.pull_policy != "Never" else ()
    return Needs(
        namespace=profile.namespace,
        parts=tuple(parts),
        gpus=largest.accelerator.count if largest.accelerator else 0,
        gpu_type=largest.accelerator.type if largest.accelerator else Needs().gpu_type,
        secrets=tuple(SecretNeed(name=name, keys=keys) for name, keys in secrets.items()),
        queues=tuple(queues),
        step_images=tuple(profile.images.reference(name) for name in pulled),
    )
