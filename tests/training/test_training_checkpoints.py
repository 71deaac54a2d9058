"""Which checkpoint a killed training goes on from, on one node and on several, and what the object store keeps."""

import os
from pathlib import Path

import pytest
from support.object_store import ObjectStore

from opencharacter.errors import UserError
from opencharacter.storage.protocols import CheckpointStore
from opencharacter.storage.workspace import Workspace
from opencharacter.system.cache import CACHE_VARIABLE
from opencharacter.training.worker.checkpoints import (
    Layout,
    Uploader,
    mark_complete,
    select_resume_checkpoint,
    steps_among,
)

ALONE = Layout(world_size=1, zero_stage=0)
OVER_TWO = Layout(world_size=2, zero_stage=3, nodes=2)


def _checkpoint(folder: Path, step: int, *, complete: bool = True, layout: Layout = ALONE) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights of step %d" % step)
    if complete:
        mark_complete(path, layout)
    return path


def _alone(mine: set[int]) -> list[set[int]]:
    return [mine]


@pytest.fixture
def local(tmp_path: Path) -> CheckpointStore:
    return Workspace(tmp_path).checkpoints("checkpoints", "key")


def _stored(checkpoints: CheckpointStore) -> set[int]:
    return steps_among(checkpoints.names())


def _on_another_machine(root: str, key: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> CheckpointStore:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    return Workspace(root).checkpoints("checkpoints", key)


def test_the_highest_complete_step_wins_whatever_the_times_say(local: CheckpointStore) -> None:
    for step in (9, 100, 20):
        _checkpoint(local.folder, step)
    _checkpoint(local.folder, 200, complete=False)
    os.utime(local.folder / "checkpoint-9", (2e9, 2e9))
    (local.folder / "rows").mkdir()
    found = select_resume_checkpoint(local.folder, local, ALONE, fetches=True, gather=_alone)
    assert found == local.folder / "checkpoint-100"
    assert {path.name for path in local.folder.iterdir()} == {"checkpoint-100", "rows"}


def test_nothing_complete_means_from_the_start(local: CheckpointStore) -> None:
    _checkpoint(local.folder, 5, complete=False)
    assert select_resume_checkpoint(local.folder, local, ALONE, fetches=True, gather=_alone) is None
    assert list(local.folder.iterdir()) == []


def test_another_layout_is_refused_with_both_named(local: CheckpointStore) -> None:
    _checkpoint(local.folder, 5, layout=OVER_TWO)
    with pytest.raises(UserError, match=r"2 processes on 2 nodes with ZeRO-3 .* 1 process with no ZeRO") as refused:
        select_resume_checkpoint(local.folder, local, ALONE, fetches=True, gather=_alone)
    assert str(local.folder) in (refused.value.hint or "")


def test_an_empty_disk_gets_the_newest_that_every_node_has(
    s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Workspace(s3_root).checkpoints("checkpoints", "key")
    for step in (3, 6):
        _checkpoint(node.folder, step, layout=OVER_TWO)
        node.upload(f"checkpoint-{step}")
    again = _on_another_machine(s3_root, "key", monkeypatch, tmp_path / "other")
    assert list(again.folder.iterdir()) == []

    # The other node's push of step 6 had not ended when it was killed.
    found = select_resume_checkpoint(again.folder, again, OVER_TWO, fetches=True, gather=lambda mine: [mine, {3}])
    assert found == again.folder / "checkpoint-3"
    assert (found / "model.safetensors").read_bytes() == b"weights of step 3"
    assert _stored(again) == {3}, "step 6 will be written anew, and must not be taken for the other node's sixth"


def test_the_store_drops_the_older_once_all_nodes_have_the_newer(s3_root: str) -> None:
    checkpoints = Workspace(s3_root).checkpoints("checkpoints", "key")
    uploader = Uploader(checkpoints)
    assert uploader.finish() == 0
    uploader.start(_checkpoint(checkpoints.folder, 3), drop_before=0)
    assert uploader.finish() == 3
    uploader.start(_checkpoint(checkpoints.folder, 6), drop_before=0)  # another node has stored nothing yet
    assert uploader.finish() == 6
    assert _stored(checkpoints) == {3, 6}
    uploader.start(_checkpoint(checkpoints.folder, 9), drop_before=6)
    assert uploader.finish() == 9
    assert _stored(checkpoints) == {6, 9}


def test_a_store_that_refuses_is_told_and_does_not_stop_the_training(
    s3_root: str, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key + "?")
    checkpoints = Workspace(s3_root).checkpoints("checkpoints", "key")
    uploader = Uploader(checkpoints)
    uploader.start(_checkpoint(checkpoints.folder, 3), drop_before=0)
    assert uploader.finish() == 0
    printed = capsys.readouterr().out
    assert '"kind":"warning"' in printed
    assert "could not be stored" in printed
    assert uploader.finish() == 0
    assert capsys.readouterr().out == "", "told once"
