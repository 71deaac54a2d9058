"""What a cluster lacks in size: memory of GPUs and pods, and scratch space, against the models of a run."""

from collections.abc import Iterator, Sequence

from opencharacter.cluster.checks import Lack, engines_of, serves_itself
from opencharacter.cluster.quantities import byte_count
from opencharacter.cluster.spec import Cluster, StepName
from opencharacter.config.run import RunConfig
from opencharacter.planning.figures import Figures, Ledger
from opencharacter.planning.formats import size_text
from opencharacter.planning.memory import memory_lacks
from opencharacter.planning.result import Stage, Storage, Where
from opencharacter.planning.sizes import parameters_of

_GIB = 2**30
_SERVING_HEADROOM = 1.2
"""Weights, and a fifth more for activations and the smallest useful cache."""
_TRAINING_ACTIVATIONS = 8 * _GIB
"""Of one process with gradient checkpointing, rows of 4096 tokens: our estimate."""
_FULL_BATCH = 64
"""Requests at once that keep one copy of a model busy: below it the throughput figures do not hold."""


def capacity_lacks(
    config: RunConfig, cluster: Cluster, stages: Sequence[Stage], storage: Sequence[Storage], assumed: Ledger
) -> list[Lack]:
    """What is too small. Sizes are estimates, so only a training that can't even be loaded is called impossible."""
    figures = assumed.figures
    lacks = memory_lacks(config.sft, cluster, assumed)
    for stage in stages:
        lacks += _serving(config, stage.step, stage.where, figures)
    where = {stage.step: stage.where for stage in stages}
    lacks += [*_training(config, where["sft"], figures), *_memory(config, cluster, where, figures)]
    return lacks + list(_scratch(cluster, storage))


def _serving(config: RunConfig, step: StepName, where: Where, figures: Figures) -> Iterator[Lack]:
    if where.gpu is None:
        return
    memory = figures.gpus[where.gpu].memory_gib * _GIB
    for name, engine in engines_of(config, step).items():
        if not serves_itself(engine):
            continue
        needed = 2 * parameters_of(figures, engine.weights, engine.model) * _SERVING_HEADROOM
        if needed > memory * engine.tensor_parallel:
            yield Lack(
                step=step,
                key=f"run: engines.{name}.tensor_parallel",
                message=f"{engine.weights} needs some {size_text(needed)}, but {engine.tensor_parallel} x {where.gpu}"
                f" hold {size_text(memory * engine.tensor_parallel)}",
            )
        copies = max(1, where.gpus // engine.tensor_parallel)
        if engine.concurrency < _FULL_BATCH * copies:
            yield Lack(
                step=step,
                key=f"run: engines.{name}.concurrency",
                message=f"{engine.concurrency} requests at once leave {copies} copies of {engine.weights} idle"
                f" for much of the time; {_FULL_BATCH * copies} or more fill them",
            )


def _training(config: RunConfig, where: Where, figures: Figures) -> Iterator[Lack]:
    sft = config.sft
    if where.gpu is None:
        return
    parameters, memory = parameters_of(figures, sft.base_model), figures.gpus[where.gpu].memory_gib * _GIB
    trained = parameters * 0.01 if sft.lora else parameters
    # 16-bit weights and gradients, float32 masters and Adam's moments; ZeRO-2 spreads the last, ZeRO-3 all.
    weights, states = 2 * parameters, 14 * trained
    if sft.deepspeed_stage == 3:
        weights /= sft.processes
    if sft.deepspeed_stage >= 2:
        states /= sft.processes
    needed = weights + states + _TRAINING_ACTIVATIONS
    if needed > memory:
        yield Lack(
            step="sft",
            key="steps.sft.accelerator.count",
            message=f"training takes some {size_text(needed)} of each GPU, but the {where.gpu} has {size_text(memory)};"
            " more GPUs with run: sft.zero_stage=3, or run: sft.lora",
        )


def _memory(config: RunConfig, cluster: Cluster, where: dict[StepName, Where], figures: Figures) -> Iterator[Lack]:
    student = parameters_of(figures, config.sft.base_model)
    # On a CPU all is float32.
    needed: dict[StepName, float] = {"evaluate": student * 4}
    for step in ("generate-profiles", "generate-dialogues", "evaluate"):
        for engine in engines_of(config, step).values() if step in where else ():
            if serves_itself(engine):
                served = 4 * parameters_of(figures, engine.weights, engine.model)
                needed[step] = max(needed.get(step, 0), served)
    for step, size in needed.items():
        given = cluster.placement(step).memory
        if where[step].gpu is None and given and byte_count(given) < size * _SERVING_HEADROOM:
            yield Lack(
                step=step,
                key=f"steps.{step}.memory",
                message=f"{given} of memory, but its models take some {size_text(size * _SERVING_HEADROOM)} on a CPU",
            )


def _scratch(cluster: Cluster, storage: Sequence[Storage]) -> Iterator[Lack]:
    for item in storage:
        _, _, step = item.place.partition("scratch of ")
        if not step:
            continue
        given = cluster.placement(step).scratch  # type: ignore[arg-type]
        if given and byte_count(given) < item.bytes:
            yield Lack(
                step=step,  # type: ignore[arg-type]
                key=f"steps.{step}.scratch",
                message=f"{given} of scratch, but weights and working files take some {size_text(item.bytes)}",
            )
