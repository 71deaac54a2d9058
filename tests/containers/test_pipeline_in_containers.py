"""The real components in their images, through `kfp.local.DockerRunner`: what `opencharacter run --containers` does."""

import json
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import yaml
from support.locked_down import docker

from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.local import local_services, run_local
from opencharacter.registry import resolve
from opencharacter.reporting import ReportInputs

DEMO = resources.files("opencharacter.data") / "demo"


def write_run(folder: Path, small_model: Path) -> RunConfig:
    """Six characters and four sessions of the demo's, with the small model as a teacher that the steps serve."""
    model = shutil.copytree(small_model, folder / "model")  # a cache in /root is closed to the containers' user
    for name, rows in (("personas", 6), ("sessions", 4)):
        lines = (DEMO / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:rows]), encoding="utf-8")
    corpus = {"name": "demo", "uri": "sessions.jsonl", "license": "CC0-1.0", "strategies": ["R"], "n": 2}
    run = {
        "name": "contained",
        "seed": 20250127,
        "inputs": {"personas": [{"uri": "personas.jsonl", "license": "CC0-1.0"}], "corpora": [corpus]},
        "engines": {"teacher": {"model": "small", "weights": str(model), "concurrency": 8, "max_model_len": 2048}},
        "profiles": {"sampling": {"temperature": 0.8, "max_tokens": 256}},
        "responses": {"rewrite_sampling": {"temperature": 0.7, "max_tokens": 96}},
        "mix": {"held_out": {"characters": 0.3, "sessions": 0.3}, "answer_similarity": 1.0, "max_tokens": 1024},
        "sft": {
            "base_model": str(model),
            "max_steps": 2,
            "max_length": 512,
            "packing": False,
            "global_batch_size": 2,
            "per_device_batch_size": 1,
            "processes": 2,
            "dtype": "float32",
            "gradient_checkpointing": False,
            "zero_stage": 2,
        },
        "evaluate": {"max_length": 1024, "rows_per_cell": 2, "train_rows": 2, "dtype": "float32"},
        "registry": {"model_name": "contained"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return load_run_config(path)


@pytest.fixture
def nothing_is_left(images: dict[str, str]) -> Iterator[None]:
    yield
    assert docker("ps", "--all", "--quiet") == ""


@pytest.mark.usefixtures("nothing_is_left")
def test_a_run_in_containers_ends_in_a_registered_model(tmp_path: Path, small_model: Path) -> None:
    config = write_run(tmp_path, small_model)
    lines: list[str] = []
    workdir = tmp_path / "work"
    ref = run_local(config, workdir, on_line=lines.append, containers=True)
    run = ReportInputs.model_validate(ref.stats["run"])

    assert run.characters.counts["ok"] >= 3
    assert run.model is not None
    weights = run.model.path / "model" / "model.safetensors"
    assert weights.stat().st_uid == 65532, "written by the container's user"
    assert run.registered is not None
    with local_services(workdir):
        version = resolve(f"models:/contained/{run.registered['version']}")
    assert version.digest == run.registered["digest"]
    assert (ref.path / "report.html").is_file()


@pytest.mark.usefixtures("nothing_is_left")
def test_a_failing_step_fails_the_run_with_its_message(tmp_path: Path, small_model: Path) -> None:
    config = write_run(tmp_path, small_model)
    (tmp_path / "personas.jsonl").write_text(json.dumps({"text": "no persona"}) + "\n", encoding="utf-8")
    with pytest.raises(OpenCharacterError, match=r"step 'ingest': .*personas\.jsonl"):
        run_local(config, tmp_path / "work", on_line=lambda line: None, containers=True)


@pytest.mark.usefixtures("nothing_is_left")
def test_a_step_that_is_killed_fails_the_run(tmp_path: Path, small_model: Path) -> None:
    """The step has no chance to tell: KFP must see the container's status."""
    config = write_run(tmp_path, small_model)
    lines: list[str] = []

    def kill_it(line: str) -> None:
        lines.append(line)
        if '"step_started", "step": "generate-profiles"' in line:
            [container] = docker("ps", "--quiet").split()
            docker("kill", container)

    with pytest.raises(OpenCharacterError, match="the pipeline failed"):
        run_local(config, tmp_path / "work", on_line=kill_it, containers=True)
    assert not any('"step": "collect-profiles"' in line for line in lines)


def test_a_missing_image_is_told_before_anything_runs(
    engine: dict[str, str], tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_run(tmp_path, small_model)
    monkeypatch.setattr("opencharacter.pipelines.containers.image_reference", lambda name: f"nowhere/{name}:1")
    with pytest.raises(OpenCharacterError, match="no image nowhere/synthesis:1"):
        run_local(config, tmp_path / "work", on_line=lambda line: None, containers=True)
    assert not (tmp_path / "work").exists()
