"""Checkpoints that survive a kill at any moment: completed, uploaded, selected for resuming.

A folder counts as a checkpoint once its mark is written, after all ranks are done.
"""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel

from opencharacter.errors import UserError
from opencharacter.storage.protocols import CheckpointStore
from opencharacter.system.fsync import sync, sync_tree
from opencharacter.training.job import Event

_NAME = re.compile(r"checkpoint-(\d+)")
_MARK = "complete.json"


class Layout(BaseModel):
    """How a checkpoint is spread over processes and nodes; it can be resumed by the same layout only."""

    world_size: int
    zero_stage: int
    nodes: int = 1


def checkpoint_name(step: int) -> str:
    """The folder of a checkpoint, as transformers names it."""
    return f"checkpoint-{step}"


def step_of(name: str) -> int | None:
    """The optimizer step of a checkpoint's folder, none for another folder."""
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def steps_among(names: Iterable[str]) -> set[int]:
    """The steps of all names that are a checkpoint's."""
    return {step for name in names if (step := step_of(name)) is not None}


def name_shards(checkpoint: Path) -> None:
    """Let DeepSpeed find its shards: it writes their folder's name on the first node only, and looks for it on each."""
    for shards in checkpoint.glob("global_step*"):
        (checkpoint / "latest").write_text(shards.name, encoding="utf-8")


def mark_complete(checkpoint: Path, layout: Layout) -> None:
    """Declare a checkpoint complete, durably. Call it when every process has written its part."""
    sync_tree(checkpoint)
    partial = checkpoint / f".{_MARK}"
    partial.write_text(layout.model_dump_json(), encoding="utf-8")
    sync(partial)
    partial.rename(checkpoint / _MARK)
    sync(checkpoint)


def complete_steps(folder: Path) -> set[int]:
    """The steps of the complete checkpoints in a folder."""
    return steps_among(path.name for path in folder.iterdir() if (path / _MARK).is_file())


def check_layout(checkpoint: Path, layout: Layout) -> None:
    """Raise `UserError` if it was written by another number of processes or nodes, or another ZeRO stage."""
    written = Layout.model_validate(json.loads((checkpoint / _MARK).read_text(encoding="utf-8")))
    if written != layout:
        raise UserError(
            f"{checkpoint} was written by {_words(written)} and can't be resumed by {_words(layout)}",
            hint="set processes, zero_stage and the number of nodes as they were, or delete"
            f" {checkpoint.parent} to train from the start",
        )


def prune(folder: Path, keep: Path | None) -> None:
    """Delete every checkpoint but `keep`, unfinished ones included."""
    for path in list(folder.iterdir()):
        if step_of(path.name) is not None and path != keep:
            shutil.rmtree(path)


def _words(layout: Layout) -> str:
    mode = f"ZeRO-{layout.zero_stage}" if layout.zero_stage else "no ZeRO"
    over = f" on {layout.nodes} nodes" if layout.nodes > 1 else ""
    return f"{layout.world_size} process{'es' if layout.world_size > 1 else ''}{over} with {mode}"


Gather = Callable[[set[int]], list[set[int]]]


def select_resume_checkpoint(
    folder: Path, checkpoints: CheckpointStore, layout: Layout, *, fetches: bool, gather: Gather
) -> Path | None:
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
    gather(set())  # wait until every node has it
    if keep:
        check_layout(keep, layout)
    return keep


def gather_in_group(steps: set[int]) -> list[set[int]]:
    """`Gather` over torch's process group, or of this process alone where there is none."""
    import torch.distributed

    if not torch.distributed.is_initialized():
        return [steps]
    gathered: list[set[int]] = [set()] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, steps)
    return gathered


class Uploader:
    """Pushes one checkpoint at a time in a thread of its own. With a local workspace there is nothing to do."""

    def __init__(self, checkpoints: CheckpointStore) -> None:
        self._checkpoints = checkpoints
        self._thread: threading.Thread | None = None
        self._stored = 0
        self._failure: Exception | None = None

    def start(self, checkpoint: Path, *, drop_before: int) -> None:
        """Push a complete checkpoint, after removing those of steps before `drop_before`."""
        self._thread = threading.Thread(target=self._push, args=(checkpoint.name, drop_before), name="upload")
        self._thread.start()

    def finish(self) -> int:
        """Wait for the push under way. Gives the newest step that the store holds of this attempt, 0 for none."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._failure:
            message = f"a checkpoint could not be stored, and training goes on: {self._failure}"
            Event(kind="warning", message=message).emit()
            self._failure = None
        return self._stored

    def _push(self, name: str, drop_before: int) -> None:
        try:
            for step in steps_among(self._checkpoints.names()):
                if step < drop_before:
                    self._checkpoints.remove(checkpoint_name(step))
            self._checkpoints.upload(name)
            self._stored = step_of(name) or 0
        except Exception as error:  # whatever it is: the checkpoint is safe on this disk, and training goes on
            self._failure = error
