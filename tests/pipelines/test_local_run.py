"""The whole pipeline on this machine: every stage for real but the teacher, which is a fake that counts its calls."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.fake_llm import FakeLLM
from support.tiny_llama import save_tiny_llama

from opencharacter.characters import load_prompt
from opencharacter.config.loading import load_run_config
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.local import run_local
from opencharacter.reporting import ReportInputs
from opencharacter.storage.jsonl import read_jsonl
from opencharacter.storage.kinds import LINEAGE
from opencharacter.storage.workspace import Workspace

pytestmark = pytest.mark.timeout(900)

TRADES = ["baker", "diver", "pilot", "tailor", "beekeeper", "surveyor", "glazier", "archivist"]


def write_run(folder: Path, base_model: Path, teacher: str) -> Path:
    personas = [{"persona": f"A {trade} who remembers every customer by their shoes"} for trade in TRADES]
    sessions = [
        {
            "messages": [
                {"role": "user", "content": f"How do I start with {topic}?"},
                {"role": "assistant", "content": f"Begin small, and keep at {topic} for a month."},
            ]
        }
        for topic in ("running", "chess", "baking", "drawing", "gardening", "piano")
    ]
    for name, rows in (("personas", personas), ("sessions", sessions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = {
        "name": "small",
        "seed": 5,
        "shards": 2,
        "system_prompt": "paper",
        "inputs": {
            "personas": [{"uri": "personas.jsonl", "license": "CC0-1.0"}],
            "corpora": [
                {"name": "own", "uri": "sessions.jsonl", "license": "CC0-1.0", "strategies": ["R", "G"], "n": 3}
            ],
        },
        "engines": {"teacher": {"model": "fake", "base_url": teacher}},
        "mix": {"held_out": {"characters": 0.3, "sessions": 0.3}, "answer_similarity": 1.0, "max_tokens": 4000},
        "sft": {
            "base_model": str(base_model),
            "max_steps": 12,
            "learning_rate": 1e-2,
            "global_batch_size": 4,
            "per_device_batch_size": 4,
            "dtype": "float32",
            "packing": False,
            "gradient_checkpointing": False,
        },
        "evaluate": {"train_rows": 2, "dtype": "float32"},
        # Eight characters decide nothing; what is tested here is that a decision is acted on.
        "gate": {
            "metric": "loss",
            "confidence": 0.51,
            "min_clusters": 2,
            "min_questions": 2,
            "guards": {"skip": ["new_characters", "loss_alone"]},
        },
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def test_a_run_ends_in_a_registered_model_and_a_second_one_asks_nothing(tmp_path: Path, fake_llm: FakeLLM) -> None:
    base_model = save_tiny_llama(tmp_path / "base")
    config = load_run_config(write_run(tmp_path, base_model, fake_llm.base_url))
    lines: list[str] = []
    first = ReportInputs.model_validate(run_local(config, tmp_path / "work", on_line=lines.append).stats["run"])

    assert first.characters.counts["ok"] == len(TRADES)
    assert first.mixture is not None
    assert first.model is not None
    assert (first.model.path / "model" / "model.safetensors").is_file()
    assert (first.model.path / "model/opencharacter/system.md").read_text() == load_prompt("paper").text
    assert LINEAGE.read(first.model).system_prompt == "paper"
    generated = [call.request["messages"][0]["content"] for call in fake_llm.calls if len(call.request["messages"]) > 1]
    assert any(text.startswith("You are an AI character.") for text in generated)
    assert not any(text.startswith("You are") and "AI character" not in text for text in generated)
    assert first.registered is not None
    assert first.registered["name"] == "opencharacter"
    assert first.registered["tags"]["system_prompt"] == "paper"
    assert first.decision is not None
    assert (first.decision["against"], first.decision["passed"]) == ("base", True), first.decision["reason"]
    workspace = Workspace(tmp_path / "work" / "workspace")
    [deployment] = workspace.list("deployment")
    assert "kind: InferenceService" in (deployment.path / "inferenceservice.yaml").read_text()
    cells = {row["cell"] for row in read_jsonl(first.evaluation.path / "rows.jsonl.zst")}  # type: ignore[union-attr]
    assert {"train", "held_out_both"} <= cells
    calls = list(fake_llm.calls)
    assert len(calls) >= len(TRADES) + 6 * 3 * 2

    shutil.rmtree(tmp_path / "work" / "kfp")
    second = ReportInputs.model_validate(run_local(config, tmp_path / "work", on_line=lines.append).stats["run"])
    assert len(fake_llm.calls) == len(calls), "the workspace holds what KFP's cache has lost"
    assert second.model == first.model
    assert second.registered is not None
    assert second.registered["version"] == first.registered["version"]
    assert second.decision is not None
    assert (second.decision["against"], second.decision["passed"]) == ("champion", True)


def test_a_teacher_that_is_down_fails_the_run_with_its_message(tmp_path: Path) -> None:
    config = load_run_config(write_run(tmp_path, save_tiny_llama(tmp_path / "base"), "http://127.0.0.1:9/v1"))
    with pytest.raises(OpenCharacterError, match=r"step 'generate-profiles': .*127\.0\.0\.1:9"):
        run_local(config, tmp_path / "work", on_line=lambda line: None)


def test_a_bucket_that_is_not_there_is_told_before_anything_is_made(s3_root: str, tmp_path: Path) -> None:
    config = load_run_config(write_run(tmp_path, tmp_path / "base", "http://127.0.0.1:9/v1"))
    with pytest.raises(UserError, match="s3://no-such-bucket/run': the object store has no such bucket"):
        run_local(config, tmp_path / "work", workspace="s3://no-such-bucket/run", on_line=lambda line: None)
    assert not (tmp_path / "work").exists()
