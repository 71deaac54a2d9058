"""Which checkpoint the processes go on from: the newest that every node has. Runs in every worker process."""

from collections.abc import Callable
from pathlib import Path

from opencharacter.storage.checkpoints import CheckpointStore
from opencharacter.training.checkpoints import (
    Layout,
    check_layout,
    checkpoint_name,
    complete_steps,
    prune,
    steps_among,
)

Gather = Callable[[set[int]], list[set[int]]]


def agree(folder: Path, checkpoints: CheckpointStore, layout: Layout, *, fetches: bool, gather: Gather) -> Path | None:
    """The checkpoint to resume, the same in all processes; none to begin with the first step.

    `gather` gives every process's argument to all of them, in the same order. The one process of a node that `fetches`
    pulls the checkpoint from the object store if this disk is without it, and drops what later attempts could take for
    newer. Raises `UserError` if the checkpoint was written by another layout.
    """
    here = complete_steps(folder)
    # What lies here without a mark is a half of something, also where this folder is the workspace's own.
    elsewhere = {step for step in steps_among(checkpoints.names()) if not (folder / checkpoint_name(step)).is_dir()}
    everywhere = set.intersection(*gather(here | elsewhere))
    newest = max(everywhere, default=None)
    keep = None if newest is None else folder / checkpoint_name(newest)
    if fetches:
        if keep and newest not in here:
            checkpoints.download(keep.name)
        prune(folder, keep)
        for step in steps_among(checkpoints.names()):
            if newest is None or step > newest:
                checkpoints.remove(checkpoint_name(step))
    gather(set())  # nobody reads on before all have it
    if keep:
        check_layout(keep, layout)
    return keep


def gather_in_group(mine: set[int]) -> list[set[int]]:
    """`Gather` over torch's process group, or of this process alone where there is none."""
    import torch.distributed

    if not torch.distributed.is_initialized():
        return [mine]
    found: list[set[int]] = [set()] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    return found
