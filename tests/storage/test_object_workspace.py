"""A workspace in a real S3 server: outputs, their local copies, and folders that outlive a machine."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.faulty_proxy import FaultKind, FaultyProxy
from support.object_store import BUCKET, READER, ObjectStore

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import tree_digest
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.s3 import client

FILES = {"loss.jsonl": b'{"step": 1}\n', "model/config.json": b"{}", "model/deep/er/weights": bytes(range(256)) * 999}
SEVERAL_PARTS = {"weights": bytes(range(256)) * 50_000}  # three parts of the smallest size that S3 allows


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def make(workspace: Workspace, files: dict[str, bytes] = FILES, key: str = "key") -> Artifact:
    with workspace.create("model", key) as draft:
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


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PART_BYTES", 5 << 20)


def test_an_output_is_what_a_local_one_is(workspace: Workspace, tmp_path: Path) -> None:
    made, local = make(workspace), make(Workspace(tmp_path / "local"))
    assert workspace.lookup("model", "key") == made
    assert workspace.list("model") == [made]
    assert made.model_dump(exclude={"uri"}) == local.model_dump(exclude={"uri"})
    assert contents(made.path) == FILES
    assert made.part_digest("model") == local.part_digest("model") == tree_digest(local.path / "model")
    assert workspace.lookup("model", "other") is None
    assert workspace.list("mixture") == []


def test_an_output_without_files_is_one(workspace: Workspace) -> None:
    assert contents(make(workspace, {}).path) == {}


def test_nothing_is_there_after_an_error(workspace: Workspace, s3_server: ObjectStore, s3_root: str) -> None:
    with suppress(RuntimeError), workspace.create("model", "key") as draft:
        write(draft.path, FILES)
        raise RuntimeError("half way")
    assert workspace.lookup("model", "key") is None
    assert not draft.path.exists()
    assert keys(s3_server, s3_root) == [".conditional-writes"]


def test_two_workers_that_make_one_output_end_with_the_same(
    workspace: Workspace, s3_server: ObjectStore, s3_root: str
) -> None:
    together = threading.Barrier(2)

    def work(name: str) -> Artifact:
        with workspace.create("model", "key") as draft:
            write(draft.path, {"by": name.encode(), name: b"x" * 100_000})
            together.wait(20)
        return draft.committed()

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(work, ("one", "two"))
    assert first == second
    held = contents(first.path)
    assert held.keys() == {"by", held["by"].decode()}
    assert len(keys(s3_server, f"{s3_root}/outputs")) == 3, "the loser's files are gone"


def test_one_file_is_fetched_without_the_others(workspace: Workspace, s3_proxy: FaultyProxy, s3_root: str) -> None:
    made = make(Workspace(s3_root))
    s3_proxy.requests.clear()
    assert made.file("loss.jsonl").read_bytes() == FILES["loss.jsonl"]
    assert made.file("loss.jsonl").read_bytes() == FILES["loss.jsonl"]
    assert not made.file("absent.json").exists()
    assert not any("weights" in line for line in s3_proxy.requests)
    assert made.part_digest("model")
    assert not any(line.startswith("GET") and "weights" in line for line in s3_proxy.requests)
    assert made.path.joinpath("model/config.json").is_file()
    asked = len(s3_proxy.requests)
    assert made.file("loss.jsonl") == made.path / "loss.jsonl"
    assert len(s3_proxy.requests) == asked, "a copy is not asked for again"


def test_what_was_changed_in_the_store_is_not_taken(workspace: Workspace, s3_server: ObjectStore, s3_root: str) -> None:
    made = make(workspace)
    [key] = [key for key in keys(s3_server, s3_root) if key.endswith("loss.jsonl")]
    name = f"{s3_root.rsplit('/', 1)[1]}/{key}"
    s3_server.client().put_object(Bucket=BUCKET, Key=name, Body=b'{"step": 2}\n')
    with pytest.raises(OpenCharacterError, match=r"loss\.jsonl': the downloaded files differ"):
        made.file("loss.jsonl")
    with pytest.raises(OpenCharacterError, match="the downloaded files differ"):
        _ = made.path
    s3_server.client().put_object(Bucket=BUCKET, Key=name, Body=FILES["loss.jsonl"])
    assert contents(made.path) == FILES


@pytest.mark.parametrize(
    ("kind", "method", "text"),
    [
        ("drop", "PUT", "partNumber=2"),
        ("slow_down", "PUT", "partNumber=1"),
        ("cut_request", "PUT", "partNumber=3"),
        ("lost_answer", "PUT", "manifest.json"),
        ("drop", "GET", "manifest.json"),
        ("cut_answer", "GET", "manifest.json"),
        ("slow_down", "GET", "list-type"),
        ("cut_answer", "GET", "weights"),
    ],
)
def test_faults_on_the_way_change_nothing(
    s3_proxy: FaultyProxy, s3_root: str, small_parts: None, kind: FaultKind, method: str, text: str
) -> None:
    fault = s3_proxy.fail(kind, method, text, times=2 if kind == "slow_down" else 1)
    made = make(Workspace(s3_root), SEVERAL_PARTS)
    assert contents(made.path) == SEVERAL_PARTS
    assert fault.hits == fault.times
    assert sum("uploadId" in line and line.startswith("PUT") for line in s3_proxy.requests) >= 3


def test_a_store_that_stays_overloaded_fails_the_step_and_names_it(
    s3_proxy: FaultyProxy, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    s3_proxy.fail("slow_down", "PUT", "loss.jsonl", times=99)
    with pytest.raises(OpenCharacterError, match=r"outputs/model/key.*503.*reduce your request rate") as failed:
        make(Workspace(s3_root))
    assert failed.value.exit_code == 1
    s3_proxy.faults.clear()
    assert Workspace(s3_root).lookup("model", "key") is None
    assert contents(make(Workspace(s3_root)).path) == FILES


def test_a_worker_killed_in_mid_upload_leaves_no_output(
    s3_proxy: FaultyProxy, s3_root: str, small_parts: None, s3_server: ObjectStore
) -> None:
    s3_proxy.fail("stall", "PUT", "partNumber=3")
    files = SEVERAL_PARTS | {"a": b"arrives"}
    worker = multiprocessing.get_context("fork").Process(target=lambda: make(Workspace(s3_root), files))
    worker.start()
    assert s3_proxy.stalled.wait(60)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert Workspace(s3_root).lookup("model", "key") is None
    assert Workspace(s3_root).list("model") == []
    made = make(Workspace(s3_root), {"weights": b"other bytes, as a second training gives"})
    assert contents(made.path) == {"weights": b"other bytes, as a second training gives"}
    assert len(keys(s3_server, f"{s3_root}/outputs")) == 2, "what the killed worker had uploaded is gone"


def test_what_is_wrong_with_the_bucket_is_told_before_work(
    workspace: Workspace, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="s3://no-such-bucket/x': the object store has no such bucket") as missing:
        make(Workspace("s3://no-such-bucket/x"))
    assert "create 'no-such-bucket'" in str(missing.value.hint)
    with pytest.raises(UserError, match="expected s3://BUCKET/PREFIX"):
        Workspace("s3://")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    assert Workspace(s3_root).lookup("model", "key") is None
    with pytest.raises(UserError, match=f"{s3_root}.*does not allow") as refused:
        Workspace(s3_root).check()
    assert "s3:PutObject" in str(refused.value.hint)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="refuses these credentials") as wrong:
        Workspace(s3_root).check()
    assert "AWS_SECRET_ACCESS_KEY" in str(wrong.value.hint)


def test_a_bucket_of_another_region_is_told(s3_proxy: FaultyProxy, s3_root: str) -> None:
    s3_proxy.fail("elsewhere", "GET", "manifest.json", times=9)
    with pytest.raises(UserError, match="the bucket is in eu-west-3, but the request went to us-east-1") as told:
        Workspace(s3_root).lookup("model", "key")
    assert told.value.hint == "set AWS_DEFAULT_REGION to eu-west-3"


def test_a_store_that_ignores_conditions_is_refused(s3_proxy: FaultyProxy, s3_root: str) -> None:
    s3_proxy.fail("deaf_to_conditions", "PUT", ".conditional-writes", times=9)
    with pytest.raises(UserError, match=r"ignores conditional writes \(If-None-Match, If-Match\)"):
        make(Workspace(s3_root))


def test_a_file_set_aside_outlives_its_output(workspace: Workspace, s3_server: ObjectStore, s3_root: str) -> None:
    with suppress(UserError), workspace.create("sessions", "key") as draft:
        write(draft.path, {"bad": b"a bad row\n"})
        told = workspace.quarantine(draft.path / "bad", "sessions.jsonl")
        raise UserError("too many bad rows")
    assert told == f"{s3_root}/quarantine/sessions.jsonl"
    assert client.ObjectStore(s3_root).get("quarantine/sessions.jsonl").data == b"a bad row\n"  # type: ignore[union-attr]


@pytest.mark.parametrize("local", [True, False])
def test_a_log_is_replaced_and_found_where_it_says(s3_root: str, tmp_path: Path, local: bool) -> None:
    root = str(tmp_path / "run") if local else s3_root
    assert Workspace(root).read_log("job/node-0.log") == ""
    Workspace(root).write_log("job/node-0.log", "much longer than the next\n")
    assert Workspace(root).write_log("job/node-0.log", "ünd\n") == f"{root}/logs/job/node-0.log"
    assert Workspace(root).read_log("job/node-0.log") == "ünd\n"


def test_a_mirrored_folder_comes_back_on_another_machine(
    workspace: Workspace, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = workspace.checkpoints("checkpoints", "key")
    write(checkpoints.folder, {f"step-1/{name}": data for name, data in FILES.items()} | {"step-2/half": b"written"})
    checkpoints.upload("step-1")
    assert checkpoints.names() == ["step-1"]
    monkeypatch.setenv("OPENCHARACTER_CACHE", str(tmp_path / "elsewhere"))
    other = Workspace(s3_root).checkpoints("checkpoints", "key")
    assert other.folder != checkpoints.folder
    assert contents(other.download("step-1")) == FILES
    with pytest.raises(OpenCharacterError, match="checkpoints/key/step-2': does not exist or is incomplete"):
        other.download("step-2")
    write(other.folder, {"step-1/loss.jsonl": b"made again"})
    other.upload("step-1")
    assert contents(checkpoints.download("step-1")) == FILES | {"loss.jsonl": b"made again"}
    other.remove("step-1")
    assert checkpoints.names() == other.names() == []
    checkpoints.upload("step-2")
    other.clear()
    assert checkpoints.names() == []


def test_a_push_that_breaks_off_leaves_the_older_one(s3_proxy: FaultyProxy, s3_root: str, monkeypatch: Any) -> None:
    checkpoints = Workspace(s3_root).checkpoints("checkpoints", "key")
    write(checkpoints.folder, {"step/a": b"first", "step/b": b"first"})
    checkpoints.upload("step")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    broken = Workspace(s3_root).checkpoints("checkpoints", "key")
    write(broken.folder, {"step/a": b"second", "step/b": b"second"})
    s3_proxy.fail("drop", "PUT", "/b", times=99)
    with pytest.raises(OpenCharacterError, match="cannot be used"):
        broken.upload("step")
    s3_proxy.faults.clear()
    assert contents(checkpoints.download("step")) == {"a": b"first", "b": b"first"}
