"""Host memory of the training's pods: what weights and optimiser take at least, and what is to be expected."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from opencharacter.cluster.checks import Lack
from opencharacter.cluster.quantities import byte_count
from opencharacter.cluster.spec import Cluster
from opencharacter.errors import UserError
from opencharacter.planning.figures import Ledger, load_figures
from opencharacter.planning.sizes import parameters_of
from opencharacter.training import SftConfig

_GIB = 2**30
_SMALL = 0.135e9
"""Parameters of the model that the figures of training on a CPU were measured with."""
_ADAPTER_SHARE = 0.01
"""Of the parameters, that LoRA trains: more than rank 16 needs."""
_HEADROOM = 1.1
"""For what the allocator can't use again, and for files that are mapped."""


@dataclass(frozen=True)
class HostMemory:
    """Bytes on each node."""

    least: float
    """Weights, gradients and optimiser states: with less, the training is killed."""
    expected: float
    """With activations and the processes themselves."""

    @property
    def quantity(self) -> str:
        """`expected` as a Kubernetes quantity, rounded up."""
        return f"{math.ceil(self.expected / _GIB)}Gi"


def training_memory(sft: SftConfig, cluster: Cluster, assumed: Ledger) -> HostMemory:
    """What the cluster's training takes. Raises `UserError` if the base model's size is not known."""
    placement = cluster.placement("sft")
    parameters = parameters_of(assumed.figures, sft.base_model)
    here = max(1, sft.processes // (placement.nodes or 1))
    if placement.gpus:
        # Without ZeRO-3 each process loads the weights on its own; at the end the first gathers them.
        weights = parameters * (4 if sft.dtype == "float32" else 2)
        copies = 1 if sft.deepspeed_stage == 3 else here
        return HostMemory(0, _HEADROOM * (here * assumed("train_gpu_process_gib") * _GIB + copies * weights))
    trained = parameters * (_ADAPTER_SHARE if sft.lora else 1)
    # All float32: weights, gradients, Adam's two moments, and DeepSpeed's own copy of what it updates. ZeRO-2 spreads
    # gradients and states over the processes, ZeRO-3 the weights, too.
    weights = 4 * parameters / (sft.processes if sft.deepspeed_stage == 3 else 1)
    states = (16 if sft.deepspeed_stage else 12) * trained / (sft.processes if sft.deepspeed_stage else 1)
    tokens = sft.per_device_batch_size * sft.max_length
    name = "train_cpu_token_checkpointed_mib" if sft.gradient_checkpointing else "train_cpu_token_mib"
    activations = tokens * assumed(name) * 2**20 * math.sqrt(parameters / _SMALL)
    process = assumed("train_cpu_process_gib") * _GIB
    least = here * (weights + states)
    return HostMemory(least, _HEADROOM * (least + here * (activations + process)))


def memory_lacks(sft: SftConfig, cluster: Cluster, assumed: Ledger | None = None) -> list[Lack]:
    """What the sft step's memory is too small for; impossible where it can't even hold weights and optimiser.

    Without `assumed` the shipped figures hold, and a base model whose size they do not know is not judged.
    """
    given = cluster.placement("sft").memory
    if given is None:
        return []
    needed = _or_none(lambda: training_memory(sft, cluster, assumed or Ledger(load_figures())))
    if needed is None or byte_count(given) >= needed.expected:
        return []
    impossible = byte_count(given) < needed.least
    reason = (
        f"weights, gradients and optimiser states alone take {_gib(needed.least)} on each node: it would be killed"
        if impossible
        else f"training takes some {_gib(needed.expected)} on each node, of which weights, gradients and optimiser"
        f" states {_gib(needed.least)}; {needed.quantity} would do"
    )
    return [Lack(step="sft", key="steps.sft.memory", message=f"{given} of memory, but {reason}", impossible=impossible)]


def estimated_memory(sft: SftConfig, cluster: Cluster) -> str | None:
    """The expected memory of each node as a quantity, by the shipped figures; none if the model's size is not known."""
    found = _or_none(lambda: training_memory(sft, cluster, Ledger(load_figures())))
    return found.quantity if found else None


def _or_none(estimate: Callable[[], HostMemory]) -> HostMemory | None:
    try:
        return estimate()
    except UserError:
        return None


def _gib(size: float) -> str:
    return f"{size / _GIB:.2g} GiB" if size < 10 * _GIB else f"{size / _GIB:,.0f} GiB"
