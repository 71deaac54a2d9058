"""A model whose files are not whole is refused by the file, before anything is made with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faulty_proxy import FaultyProxy
from support.weights import shard, write_model_folder

from opencharacter.cli import main
from opencharacter.config.loading import load_run_config
from opencharacter.engines import localize_model
from opencharacter.engines.weight_files import ModelFiles, require_model
from opencharacter.errors import UserError
from opencharacter.hashing import file_digests
from opencharacter.pipelines.local import run_local
from opencharacter.planning import load_figures, make_plan
from opencharacter.planning.models import require_whole_models
from opencharacter.storage.s3.client import ObjectStore

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 4976698672\n"
)
SHARDS = {"model-00001-of-00002.safetensors": shard(b"12345678"), "model-00002-of-00002.safetensors": shard(b"1234")}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write_model_folder(tmp_path / "base")
    (folder / "model.safetensors").unlink()
    for name, content in SHARDS.items():
        (folder / name).write_bytes(content)
    index = {"weight_map": {"w0": "model-00001-of-00002.safetensors", "w2": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_whole_model_passes_and_files_that_nobody_loads_do_not_count(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(POINTER)
    (model / "consolidated.safetensors").write_bytes(POINTER)
    require_model(ModelFiles.in_folder(model, "base"))


def test_what_a_real_writer_makes_is_whole(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    write_model_folder(tmp_path)
    save_file(
        {"a": torch.zeros(3, 5), "b": torch.zeros(0), "c": torch.zeros(7, dtype=torch.bfloat16)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    require_model(ModelFiles.in_folder(tmp_path, "base"))


BROKEN: list[tuple[str, Callable[[bytes], bytes | None], str]] = [
    ("model-00002-of-00002.safetensors", lambda content: POINTER, "a Git LFS pointer, not the file itself"),
    ("model-00001-of-00002.safetensors", lambda content: content[:-1], r"cut off: [\d,]+ bytes, expected [\d,]+"),
    ("model-00001-of-00002.safetensors", lambda content: content[:20], "cut off: 20 bytes, and its header alone has"),
    ("model-00001-of-00002.safetensors", lambda content: b"", "not a safetensors file"),
    ("model-00001-of-00002.safetensors", lambda content: b"<!doctype html><html>Sign in</html>", "not a safetensors"),
    ("model-00001-of-00002.safetensors", lambda content: content + b"0", r"too long: [\d,]+ bytes, expected"),
    ("model-00002-of-00002.safetensors", lambda content: None, "no such file, though model.safetensors.index.json"),
    ("model.safetensors.index.json", lambda content: POINTER, "a Git LFS pointer"),
    ("model.safetensors.index.json", lambda content: content[:-5], "damaged: not valid JSON"),
    ("model.safetensors.index.json", lambda content: b"{}", "names no files of weights"),
    ("tokenizer.json", lambda content: POINTER, "a Git LFS pointer"),
    ("config.json", lambda content: POINTER, "a Git LFS pointer"),
]


@pytest.mark.parametrize(("name", "change", "fault"), BROKEN)
def test_a_file_that_is_not_whole_is_named(
    model: Path, name: str, change: Callable[[bytes], bytes | None], fault: str
) -> None:
    changed = change((model / name).read_bytes())
    (model / name).unlink()
    if changed is not None:
        (model / name).write_bytes(changed)
    with pytest.raises(UserError, match=rf"base/{name}: {fault}") as refused:
        localize_model(str(model))
    assert refused.value.hint


@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda rest: len(rest).to_bytes(8, "little") + rest))
def test_arbitrary_bytes_are_refused_or_whole(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = write_model_folder(tmp_path_factory.getbasetemp() / "arbitrary")
    (folder / "model.safetensors").write_bytes(content)
    faults: list[str] = []
    try:
        require_model(ModelFiles.in_folder(folder, "base"))
    except UserError as error:
        faults.append(str(error))
    assert all(fault.startswith("base/model.safetensors: ") for fault in faults)


@pytest.mark.parametrize("key", ["sft.base_model", "engines.teacher.weights"])
def test_the_check_the_plan_and_the_run_refuse_it_before_anything_is_made(
    model: Path, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model-00002-of-00002.safetensors").write_bytes(POINTER)
    config = load_run_config(preset="demo", overrides=[f"{key}={model}"])
    fault = rf"{key}: .*base/model-00002-of-00002\.safetensors: a Git LFS pointer"
    with pytest.raises(UserError, match=fault):
        make_plan(config, None, load_figures())
    with pytest.raises(UserError, match=fault):
        run_local(config, tmp_path / "work", on_line=lambda line: None)
    assert not (tmp_path / "work").exists()
    with pytest.raises(SystemExit) as ended:
        main(["config", "validate", "demo", "--set", f"{key}={model}"])
    assert ended.value.code == 2
    assert f"{key}: {model}/model-00002-of-00002.safetensors: a Git LFS pointer" in capsys.readouterr().err


@pytest.mark.parametrize("absent", ["/nowhere/base", "package:nowhere"])
def test_a_model_that_is_not_on_this_machine_stops_a_run_here_only(absent: str, tmp_path: Path) -> None:
    config = load_run_config(preset="demo", overrides=[f"sft.base_model={absent}"])
    require_whole_models(config)
    with pytest.raises(UserError, match=r"sft\.base_model: .*nowhere"):
        run_local(config, tmp_path / "work", on_line=lambda line: None)


def test_a_model_in_an_object_store_is_looked_at_without_fetching_its_weights(
    model: Path, tmp_path: Path, s3_root: str, s3_proxy: FaultyProxy
) -> None:
    large = shard(bytes(3_000_000))
    (model / "model-00001-of-00002.safetensors").write_bytes(large)
    config = load_run_config(preset="demo", overrides=[f"sft.base_model={s3_root}/base"])
    store = ObjectStore(s3_root)
    store.upload(model, "base", file_digests(model))
    require_whole_models(config)
    require_whole_models(config, here=True)
    assert any("model-00001-of-00002" in line for line in s3_proxy.requests)
    assert not (tmp_path / "cache" / "inputs").exists()
    (model / "model-00001-of-00002.safetensors").write_bytes(large[:-1])
    store.upload(model, "base", file_digests(model))
    fault = rf"sft\.base_model: {s3_root}/base/model-00001-of-00002\.safetensors: cut off: 3,000,0\d\d bytes"
    with pytest.raises(UserError, match=fault):
        run_local(config, tmp_path / "work", on_line=lambda line: None)
    store.put("base/model-00001-of-00002.safetensors", b"")
    with pytest.raises(UserError, match=r"model-00001-of-00002\.safetensors: not a safetensors file \(0 bytes\)"):
        run_local(config, tmp_path / "work", on_line=lambda line: None)
    store.delete(["base/model-00001-of-00002.safetensors"])
    with pytest.raises(UserError, match=r"model-00001-of-00002\.safetensors: no such file"):
        run_local(config, tmp_path / "work", on_line=lambda line: None)
