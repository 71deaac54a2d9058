"""The pods of a run, in brief: what is shown before anything is sent."""

from pydantic import BaseModel, Field

from opencharacter.cluster.checks import steps_of
from opencharacter.cluster.images import STEP_IMAGES, step_image
from opencharacter.cluster.spec import Cluster, Placement, StepName
from opencharacter.config.run import RunConfig

_SHARDED: tuple[StepName, ...] = ("generate-profiles", "generate-dialogues")


class Pod(BaseModel):
    """What a step asks the cluster for, in brief."""

    step: StepName
    pods: int = Field(description="workers side by side; KFP starts a small pod of its own beside each")
    image: str
    gpus: int
    cpu: str
    memory: str
    queue: str
    retries: int
    trains_on: str = Field(description="the nodes of the TrainJob that the pod starts, if it does")


def pods_of(config: RunConfig, cluster: Cluster | None) -> list[Pod]:
    """The pods of a run, by step; without a cluster they have the compiled pipeline's image and ask for nothing."""
    pods = []
    for step in steps_of(config):
        pod = cluster.pod(step) if cluster else Placement()
        job = cluster.placement(step) if cluster else Placement()
        pods.append(
            Pod(
                step=step,
                pods=config.shards if step in _SHARDED else 1,
                image=cluster.images.reference(STEP_IMAGES[step]) if cluster else step_image(step),
                gpus=pod.gpus,
                cpu=_cpu_text(pod),
                memory=pod.memory or "",
                queue=pod.queue or "",
                retries=pod.retries.count if pod.retries else 0,
                trains_on=f"{job.nodes} nodes, {job.gpus} GPUs each" if (job.nodes or 1) > 1 else "",
            )
        )
    return pods


def _cpu_text(pod: Placement) -> str:
    """`500m`, or `500m (max 2)` with a limit."""
    limit = f"(max {pod.cpu_limit})" if pod.cpu_limit else ""
    return f"{pod.cpu or ''} {limit}".strip()
