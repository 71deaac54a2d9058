"""A workspace in a real S3 server: outputs, their local copies, and folders that outlive a machine."""

from pathlib import Path

import pytest
from support.object_store import BUCKET, ObjectStore

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import tree_digest
from opencharacter.storage import Ref, Workspace

FILES = {"loss.jsonl": b'{"step": 1}\n', "model/config.json": b"{}", "model/deep/er/weights": bytes(range(256)) * 999}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def make(workspace: Workspace, files: dict[str, bytes] = FILES, key: str = "key") -> Ref:
    with workspace.produce("model", key) as draft:
        write(draft.path, files)
        draft.counts, draft.stats = {"ok": 3}, {"wall_s": 1.5}
    return draft.committed()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(server: ObjectStore, root: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=BUCKET, Prefix=root.removeprefix(f"s3://{BUCKET}/") + "/")
    return [each["Key"].split("/", 1)[1] for each in listed.get("Contents", ())]


@pytest.fixture
def workspace(s3_root: str) -> Workspace:
    return Workspace(s3_root)


def test_an_output_is_what_a_local_one_is(workspace: Workspace, tmp_path: Path) -> None:
    made, local = make(workspace), make(Workspace(tmp_path / "local"))
    assert workspace.lookup("model", "key") == made
    assert workspace.list("model") == [made]
    assert made.model_dump(exclude={"uri"}) == local.model_dump(exclude={"uri"})
    assert contents(made.path) == FILES
    assert made.part_digest("model") == local.part_digest("model") == tree_digest(local.path / "model")
    assert workspace.lookup("model", "other") is None
    assert workspace.list("mixture") == []


def test_a_mirrored_folder_comes_back_on_another_machine(
    workspace: Workspace, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = workspace.mirror("checkpoints", "key")
    write(mirror.folder, {f"step-1/{name}": data for name, data in FILES.items()} | {"step-2/half": b"written"})
    mirror.push("step-1")
    assert mirror.names() == ["step-1"]
    monkeypatch.setenv("OPENCHARACTER_CACHE", str(tmp_path / "elsewhere"))
    other = Workspace(s3_root).mirror("checkpoints", "key")
    assert other.folder != mirror.folder
    assert contents(other.pull("step-1")) == FILES
    with pytest.raises(OpenCharacterError, match="checkpoints/key/step-2': not there"):
        other.pull("step-2")
    other.remove("step-1")
    assert mirror.names() == other.names() == []
    mirror.push("step-2")
    other.clear()
    assert mirror.names() == []
