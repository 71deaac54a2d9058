"""Checkpoints that survive a kill at any moment: a folder counts once its mark is written, after all ranks are done."""

import json
import os
import re
import shutil
from pathlib import Path

from pydantic import BaseModel

from opencharacter.errors import UserError

_NAME = re.compile(r"checkpoint-(\d+)")
_MARK = "complete.json"


class Layout(BaseModel):
    """How a checkpoint is spread over processes; it can be resumed by the same layout only."""

    world_size: int
    zero_stage: int


def mark_complete(checkpoint: Path, layout: Layout) -> None:
    """Declare a checkpoint complete, durably. Call it when every process has written its part."""
    for path in [*checkpoint.rglob("*"), checkpoint]:
        _sync(path)
    partial = checkpoint / f".{_MARK}"
    partial.write_text(layout.model_dump_json(), encoding="utf-8")
    _sync(partial)
    partial.rename(checkpoint / _MARK)
    _sync(checkpoint)


def newest(folder: Path, layout: Layout) -> Path | None:
    """The complete checkpoint of the highest step, if there is one.

    Raises `UserError` if it was written by another number of processes or ZeRO stage.
    """
    complete = [path for path in _by_step(folder) if (path / _MARK).is_file()]
    if not complete:
        return None
    written = Layout.model_validate(json.loads((complete[-1] / _MARK).read_text(encoding="utf-8")))
    if written != layout:
        raise UserError(
            f"{complete[-1]} was written by {_words(written)} and can't be resumed by {_words(layout)}",
            hint=f"set processes and zero_stage as they were, or delete {folder} to train from the start",
        )
    return complete[-1]


def prune(folder: Path, keep: Path | None) -> None:
    """Delete every checkpoint but `keep`, unfinished ones included."""
    for path in _by_step(folder):
        if path != keep:
            shutil.rmtree(path)


def _by_step(folder: Path) -> list[Path]:
    steps = {path: int(match.group(1)) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return sorted(steps, key=steps.__getitem__)


def _words(layout: Layout) -> str:
    mode = f"ZeRO-{layout.zero_stage}" if layout.zero_stage else "no ZeRO"
    return f"{layout.world_size} process{'es' if layout.world_size > 1 else ''} with {mode}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
