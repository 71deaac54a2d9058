"""Which checkpoint a killed training goes on from."""

import os
from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.training.checkpoints import Layout, mark_complete, newest, prune

ALONE = Layout(world_size=1, zero_stage=0)


def _checkpoint(folder: Path, step: int, *, complete: bool = True, layout: Layout = ALONE) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights")
    if complete:
        mark_complete(path, layout)
    return path


def test_the_highest_complete_step_wins_whatever_the_times_say(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        _checkpoint(tmp_path, step)
    _checkpoint(tmp_path, 200, complete=False)
    os.utime(tmp_path / "checkpoint-9", (2e9, 2e9))
    found = newest(tmp_path, ALONE)
    assert found == tmp_path / "checkpoint-100"

    prune(tmp_path, keep=found)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-100"]


def test_nothing_complete_means_from_the_start(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 5, complete=False)
    assert newest(tmp_path, ALONE) is None


def test_another_layout_is_refused_with_both_named(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 5, layout=Layout(world_size=2, zero_stage=3))
    with pytest.raises(UserError, match=r"2 processes with ZeRO-3 .* 1 process with no ZeRO") as refused:
        newest(tmp_path, ALONE)
    assert str(tmp_path) in (refused.value.hint or "")
