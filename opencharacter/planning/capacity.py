"""The bytes that a run keeps and needs, and what of a cluster is too small for them: GPUs, pods' memory, scratch."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.checks import Issue
from opencharacter.cluster.quantities import byte_count
from opencharacter.cluster.spec import StepName
from opencharacter.cluster.steps import Step, Steps
from opencharacter.errors import UserError
from opencharacter.planning.cost import StepResources
from opencharacter.planning.figures import Assumptions, Figures, Gpu, load_figures, parameters_of
from opencharacter.planning.formats import size_text
from opencharacter.planning.workload import StageWorkload
from opencharacter.training import SftConfig

_GIB = 2**30
_ADAPTER_SHARE = 0.01
"""Of the parameters, that LoRA trains: more than rank 16 needs."""

_CHECKPOINTS = 2
"""The last one is deleted once the next is complete."""
_ENCODED_BYTES = 16
"""Of a training token: its id and its label, as 64-bit integers."""
_GENERATING: tuple[StepName, ...] = ("generate-profiles", "generate-dialogues", "judge-dialogues")
"""Stages that keep rows in the row store, which does not compress, and may serve models."""

_SERVING_HEADROOM = 1.2
"""Weights, and a fifth more for activations and the smallest useful cache."""
_TRAINING_ACTIVATIONS = 8 * _GIB
"""Of one process with gradient checkpointing, rows of 4096 tokens: our estimate."""
_MOST_IN_A_BATCH = 256
"""vLLM's smallest default of `max_num_seqs` on a GPU (0.32: 256; 1,024 on those with 70 GiB or more)."""
_CACHE_BYTES_8B = 128 * 2**10
"""Of a token in the cache of an 8B model (Llama 3: 32 layers, 8 heads of 128, keys and values, 16 bits); it grows with
about the root of the parameters (a 70B model: 320 KiB)."""
_TOKENS_HELD = 1000
"""Of a request under way, prompt and half of the answer: our estimate."""
_USABLE = 0.9
"""Of a GPU's memory, that vLLM takes."""

_SMALL = 0.135e9
"""Parameters of the model that the figures of training on a CPU were measured with."""
_HOST_HEADROOM = 1.1
"""For memory that the allocator cannot reuse, and for mapped files."""


class Storage(BaseModel):
    """Bytes in one place."""

    model_config = ConfigDict(extra="forbid")

    what: str
    place: str = Field(description="`workspace`, or `scratch of STEP`, for one pod")
    bytes: int


def storage(steps: Steps, workloads: Mapping[StepName, StageWorkload], assumptions: Assumptions) -> list[Storage]:
    """Bytes in the workspace, and in the scratch volume of each pod that holds a model."""
    figures, sft = assumptions.figures, steps["sft"].training
    assert sft is not None, "every run trains"
    generated = sum(work.stored_bytes for step, work in workloads.items() if step in _GENERATING)
    files = sum(work.stored_bytes for step, work in workloads.items() if step not in _GENERATING)
    model, checkpoints = _model_bytes(sft, figures), _CHECKPOINTS * _checkpoint_bytes(sft, figures)
    kept = [
        ("rows of profiles and responses", generated),
        ("data sets", files * assumptions("compression")),
        (f"checkpoints, {_CHECKPOINTS} at most", checkpoints),
        ("tuned model", model),
    ]
    encoded = workloads["sft"].trained_tokens / sft.epochs * _ENCODED_BYTES
    base = parameters_of(figures, sft.base_model) * 2
    scratch: dict[StepName, float] = {
        # The rows on their way, written twice.
        "mix": 2 * workloads["mix"].stored_bytes,
        # Each node holds its processes' parts of a checkpoint.
        "sft": base + encoded + checkpoints / steps["sft"].nodes + model,
        "evaluate": base + model + _served_bytes(steps["evaluate"], figures),
    }
    for name in _GENERATING:
        if name in steps and (weights := _served_bytes(steps[name], figures)):
            scratch[name] = weights
    return [Storage(what=what, place="workspace", bytes=round(size)) for what, size in kept if size] + [
        Storage(what="weights and working files", place=f"scratch of {name}", bytes=round(scratch[name]))
        for name in workloads
        if name in scratch
    ]


def _model_bytes(sft: SftConfig, figures: Figures) -> float:
    """The tuned model's folder."""
    return parameters_of(figures, sft.base_model) * (4 if sft.dtype == "float32" else 2)


def _checkpoint_bytes(sft: SftConfig, figures: Figures) -> float:
    """One checkpoint: weights, master copy and Adam's two moments of every trained parameter."""
    parameters = parameters_of(figures, sft.base_model)
    if sft.lora is not None:
        return parameters * _ADAPTER_SHARE * 12
    # ZeRO keeps the 16-bit weights next to their float32 masters.
    sixteen_bit = sft.deepspeed_stage > 0 and sft.dtype == "bfloat16"
    return parameters * (14 if sixteen_bit else 12)


def _served_bytes(step: Step, figures: Figures) -> float:
    """Weights that the step's pod serves."""
    served = {(engine.weights, engine.model) for engine in step.served.values()}
    return sum(2 * parameters_of(figures, *names) for names in served)


def check_capacity(
    steps: Steps, resources: Mapping[StepName, StepResources], kept: list[Storage], assumptions: Assumptions
) -> list[Issue]:
    """Find what is too small. Sizes are estimates: only training that cannot even be loaded is fatal."""
    figures = assumptions.figures
    issues = check_training_memory(steps["sft"], assumptions)
    for name, step in steps.items():
        issues += _serving(step, resources[name], figures)
    issues += [*_gpu_memory(steps["sft"], resources["sft"], figures), *_host_memory(steps, resources, figures)]
    return issues + list(_scratch(steps, kept))


def _serving(step: Step, resources: StepResources, figures: Figures) -> Iterator[Issue]:
    if resources.gpu is None:
        return
    memory = figures.gpus[resources.gpu].memory_gib * _GIB
    for name, engine in step.served.items():
        parameters = parameters_of(figures, engine.weights, engine.model)
        needed = 2 * parameters * _SERVING_HEADROOM
        if needed > memory * engine.tensor_parallel:
            yield Issue(
                step=step.name,
                subject=f"run: engines.{name}.tensor_parallel",
                state="warning",
                message=f"{engine.weights} needs some {size_text(needed)}, but {engine.tensor_parallel} x"
                f" {resources.gpu} hold {size_text(memory * engine.tensor_parallel)}",
            )
        copies = max(1, step.gpus // engine.tensor_parallel)
        full = copies * _full_batch(figures.gpus[resources.gpu], parameters, engine.tensor_parallel)
        if engine.concurrency < full:
            yield Issue(
                step=step.name,
                subject=f"run: engines.{name}.concurrency",
                state="warning",
                message=f"{engine.concurrency} requests at once leave {step.gpus} {resources.gpu} with {engine.weights}"
                f" ({copies} {'copy' if copies == 1 else 'copies'}) idle for much of the time; some {full:,} fill them",
            )


def _full_batch(gpu: Gpu, parameters: float, tensor_parallel: int) -> int:
    """Requests at once that keep one copy of a model busy: with fewer, the throughput figures do not hold.

    A step of decoding reads all weights, however many requests share it. It takes longer only where there are more
    requests than the GPU has operations for each byte that it reads; a 16-bit weight is two bytes and two operations
    a token, whatever the model's size. Fewer are enough where the memory holds the cache of fewer.
    """
    balanced = gpu.bf16_tflops / gpu.memory_tb_per_s
    cache = _CACHE_BYTES_8B * math.sqrt(parameters / 8e9) * _TOKENS_HELD
    held = (gpu.memory_gib * _GIB * _USABLE * tensor_parallel - 2 * parameters) / cache
    return max(1, int(min(balanced, held, _MOST_IN_A_BATCH)))


def _gpu_memory(step: Step, resources: StepResources, figures: Figures) -> Iterator[Issue]:
    sft = step.training
    if resources.gpu is None or sft is None:
        return
    parameters, memory = parameters_of(figures, sft.base_model), figures.gpus[resources.gpu].memory_gib * _GIB
    trained = parameters * _ADAPTER_SHARE if sft.lora else parameters
    # 16-bit weights and gradients, float32 masters and Adam's moments; ZeRO-2 spreads the last, ZeRO-3 all.
    weights, states = 2 * parameters, 14 * trained
    if sft.deepspeed_stage == 3:
        weights /= step.processes
    if sft.deepspeed_stage >= 2:
        states /= step.processes
    needed = weights + states + _TRAINING_ACTIVATIONS
    if needed > memory:
        yield Issue(
            step="sft",
            subject="steps.sft.accelerator.count",
            state="warning",
            message=f"training takes some {size_text(needed)} of each GPU, but the {resources.gpu} has"
            f" {size_text(memory)}; more GPUs with run: sft.zero_stage=3, or run: sft.lora",
        )


def _host_memory(steps: Steps, resources: Mapping[StepName, StepResources], figures: Figures) -> Iterator[Issue]:
    """Memory of pods that hold models without a GPU. On a CPU every number is float32."""
    for name, step in steps.items():
        sizes = [4 * parameters_of(figures, engine.weights, engine.model) for engine in step.served.values()]
        if name == "evaluate":
            sizes.append(4 * parameters_of(figures, step.base_model))
        given = step.placement.memory
        if resources[name].gpu is None and sizes and given and byte_count(given) < max(sizes) * _SERVING_HEADROOM:
            yield Issue(
                step=name,
                subject=f"steps.{name}.memory",
                state="warning",
                message=f"{given} of memory, but its models take some {size_text(max(sizes) * _SERVING_HEADROOM)} on a"
                " CPU",
            )


def _scratch(steps: Steps, kept: list[Storage]) -> Iterator[Issue]:
    needed = {item.place.removeprefix("scratch of "): item.bytes for item in kept}
    for name, step in steps.items():
        given = step.placement.scratch
        if given and byte_count(given) < needed.get(name, 0):
            yield Issue(
                step=name,
                subject=f"steps.{name}.scratch",
                state="warning",
                message=f"{given} of scratch, but weights and working files take some {size_text(needed[name])}",
            )


@dataclass(frozen=True)
class HostMemory:
    """Bytes of host memory on each node that trains."""

    least: float
    """Weights, gradients and optimizer states: with less, the training is killed."""
    expected: float
    """With activations and the processes themselves."""

    @property
    def quantity(self) -> str:
        """`expected` as a Kubernetes quantity, rounded up."""
        return f"{math.ceil(self.expected / _GIB)}Gi"


def training_memory(step: Step, assumptions: Assumptions) -> HostMemory:
    """Host memory that training takes. Raises `UserError` if the base model's size is not known."""
    sft = step.training
    assert sft is not None, "only the step sft trains"
    parameters = parameters_of(assumptions.figures, sft.base_model)
    here = step.processes_per_node
    if step.gpus:
        # Without ZeRO-3 each process loads the weights on its own; at the end the first gathers them.
        weights = parameters * (4 if sft.dtype == "float32" else 2)
        copies = 1 if sft.deepspeed_stage == 3 else here
        processes = here * assumptions("train_gpu_process_gib") * _GIB
        return HostMemory(0, _HOST_HEADROOM * (processes + copies * weights))
    trained = parameters * (_ADAPTER_SHARE if sft.lora else 1)
    # All float32: weights, gradients, Adam's two moments, and DeepSpeed's own copy of what it updates. ZeRO-2 spreads
    # gradients and states over the processes, ZeRO-3 the weights, too.
    weights = 4 * parameters / (step.processes if sft.deepspeed_stage == 3 else 1)
    states = (16 if sft.deepspeed_stage else 12) * trained / (step.processes if sft.deepspeed_stage else 1)
    tokens = sft.per_device_batch_size * sft.max_length
    name = "train_cpu_token_checkpointed_mib" if sft.gradient_checkpointing else "train_cpu_token_mib"
    activations = tokens * assumptions(name) * 2**20 * math.sqrt(parameters / _SMALL)
    process = assumptions("train_cpu_process_gib") * _GIB
    least = here * (weights + states)
    return HostMemory(least, _HOST_HEADROOM * (least + here * (activations + process)))


def check_training_memory(step: Step, assumptions: Assumptions | None = None) -> list[Issue]:
    """Find whether the step's memory is too small; fatal where it cannot even hold weights and optimizer.

    Without `assumptions` the shipped figures count, and a base model of unknown size is not judged.
    """
    given = step.placement.memory
    if given is None:
        return []
    needed = _or_none(lambda: training_memory(step, assumptions or Assumptions(load_figures())))
    if needed is None or byte_count(given) >= needed.expected:
        return []
    fatal = byte_count(given) < needed.least
    reason = (
        f"weights, gradients and optimizer states alone take {_gib(needed.least)} on each node: it would be killed"
        if fatal
        else f"training takes some {_gib(needed.expected)} on each node, of which weights, gradients and optimizer"
        f" states {_gib(needed.least)}; {needed.quantity} would do"
    )
    message = f"{given} of memory, but {reason}"
    return [Issue(step="sft", subject="steps.sft.memory", state="fatal" if fatal else "warning", message=message)]


def estimated_memory(step: Step) -> str | None:
    """The expected memory of each node as a quantity, by the shipped figures; none if the model's size is not known."""
    memory = _or_none(lambda: training_memory(step, Assumptions(load_figures())))
    return memory.quantity if memory else None


def _or_none(estimate: Callable[[], HostMemory]) -> HostMemory | None:
    try:
        return estimate()
    except UserError:
        return None


def _gib(size: float) -> str:
    return f"{size / _GIB:.2g} GiB" if size < 10 * _GIB else f"{size / _GIB:,.0f} GiB"
