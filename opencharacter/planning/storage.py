"""How many bytes a run keeps: in the workspace, and in the working folders of its pods."""

from collections.abc import Sequence

from opencharacter.cluster.checks import engines_of, serves_itself
from opencharacter.cluster.spec import StepName
from opencharacter.config.run import RunConfig
from opencharacter.planning.figures import Figures, Ledger
from opencharacter.planning.result import Storage
from opencharacter.planning.sizes import parameters_of
from opencharacter.planning.work import Work

_CHECKPOINTS = 2
"""The last one is deleted once the next is complete."""
_ENCODED_BYTES = 16
"""Of a training token: its id and its label, as 64-bit integers."""
_ADAPTER_SHARE = 0.01
"""Of the parameters, that LoRA trains: more than rank 16 needs."""
_ROW_STORES: tuple[StepName, ...] = ("generate-profiles", "generate-dialogues")
"""Stages that keep rows in the row store, which does not compress."""


def storage(config: RunConfig, stages: Sequence[Work], ledger: Ledger, *, nodes: int) -> list[Storage]:
    """Bytes in the workspace, and in the scratch volume of each pod that holds a model; training runs on `nodes`."""
    figures, ratio = ledger.figures, ledger("compression")
    rows = sum(work.stored_bytes for work in stages if work.step in _ROW_STORES)
    files = sum(work.stored_bytes for work in stages if work.step not in _ROW_STORES) * ratio
    model, checkpoints = model_bytes(config, figures), _CHECKPOINTS * checkpoint_bytes(config, figures)
    held = [
        ("rows of profiles and responses", rows),
        ("data sets", files),
        (f"checkpoints, {_CHECKPOINTS} at most", checkpoints),
        ("tuned model", model),
    ]
    kept = [Storage(what=what, place="workspace", bytes=round(size)) for what, size in held if size]
    by_step = {work.step: work for work in stages}
    encoded = by_step["sft"].trained_tokens / config.sft.epochs * _ENCODED_BYTES
    base = parameters_of(figures, config.sft.base_model) * 2
    scratch: dict[StepName, float] = {
        # The rows on their way, written twice.
        "mix": 2 * by_step["mix"].stored_bytes,
        # Each node holds its processes' parts of a checkpoint.
        "sft": base + encoded + checkpoints / nodes + model,
        "evaluate": base + model + _served(config, "evaluate", figures),
    }
    for step in _ROW_STORES:
        if step in by_step and (weights := _served(config, step, figures)):
            scratch[step] = weights
    order = [work.step for work in stages]
    return kept + [
        Storage(what="weights and working files", place=f"scratch of {step}", bytes=round(scratch[step]))
        for step in sorted(scratch, key=order.index)
    ]


def model_bytes(config: RunConfig, figures: Figures) -> float:
    """The tuned model's folder."""
    return parameters_of(figures, config.sft.base_model) * (4 if config.sft.dtype == "float32" else 2)


def checkpoint_bytes(config: RunConfig, figures: Figures) -> float:
    """One checkpoint: weights, master copy and Adam's two moments of all that is trained."""
    parameters = parameters_of(figures, config.sft.base_model)
    if config.sft.lora is not None:
        return parameters * _ADAPTER_SHARE * 12
    # Under ZeRO the 16-bit weights stand beside their float32 masters.
    sixteen_bit = config.sft.deepspeed_stage > 0 and config.sft.dtype == "bfloat16"
    return parameters * (14 if sixteen_bit else 12)


def _served(config: RunConfig, step: StepName, figures: Figures) -> float:
    """Weights that the step's pod serves."""
    served = {(one.weights, one.model) for one in engines_of(config, step).values() if serves_itself(one)}
    return sum(2 * parameters_of(figures, *names) for names in served)
