"""Checkpoints that survive a kill at any moment: a folder counts once its mark is written, after all ranks are done."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from opencharacter.errors import UserError
from opencharacter.system.fsync import sync, sync_tree

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
    """The optimiser step of a checkpoint's folder, none if it is no such folder."""
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
