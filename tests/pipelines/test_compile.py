"""The compiled pipeline: all stages, for every recipe, and the same wherever it is to run."""

from pathlib import Path
from typing import Any

import pytest

from opencharacter.cluster.images import image_reference
from opencharacter.config.loading import load_run_config, presets
from opencharacter.errors import UserError
from opencharacter.pipelines.compile import compile_pipeline, read_ir

STAGES = {"mix", "sft", "get-champion", "evaluate", "register", "gate", "report"}
SYNTHESIS = {"ingest", "collect-profiles", "collect-dialogues"}


def compiled(tmp_path: Path, preset: str, *overrides: str, workspace: str | None = None) -> dict[str, Any]:
    config = load_run_config(preset=preset, overrides=overrides)
    return read_ir(compile_pipeline(config, tmp_path / f"{preset}.yaml", workspace=workspace))


@pytest.mark.parametrize("preset", presets())
def test_every_recipe_compiles_with_all_stages(tmp_path: Path, preset: str) -> None:
    spec = compiled(tmp_path, preset)
    assert set(spec["root"]["dag"]["tasks"]) >= STAGES | SYNTHESIS
    steps = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    assert steps == STAGES | SYNTHESIS | {"generate-profiles", "generate-dialogues", "promote", "deploy"}


def test_synthesis_is_sharded_by_parallel_for(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "demo")
    loops = [task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    assert len(loops) == 2
    inner = {name for loop in loops for name in spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]}
    assert inner == {"generate-profiles", "generate-dialogues"}


def test_promotion_hangs_on_the_gate(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "demo")
    [branch] = [task for task in spec["root"]["dag"]["tasks"].values() if "triggerPolicy" in task]
    assert "gate-Output" in branch["triggerPolicy"]["condition"]
    assert set(spec["components"][branch["componentRef"]["name"]]["dag"]["tasks"]) == {"promote", "deploy"}


def test_what_decides_a_result_is_an_argument(tmp_path: Path) -> None:
    """So that KFP's cache, which looks at arguments only, is sound."""
    parameters = compiled(tmp_path, "demo")["root"]["inputDefinitions"]["parameters"]
    run = parameters["run"]["defaultValue"]
    assert run["seed"] == 20250127
    assert run["library"]
    assert {"system.md", "rewrite.md"} <= set(run["prompts"])


def test_registry_lookups_are_never_cached(tmp_path: Path) -> None:
    tasks = compiled(tmp_path, "demo")["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert {"get-champion", "register"} <= uncached
    assert not uncached & {"ingest", "mix", "sft", "evaluate", "gate"}


def test_a_release_stands_in_place_of_synthesis(tmp_path: Path) -> None:
    spec = compiled(
        tmp_path,
        "demo",
        "inputs={dataset: {characters: synthetic_character.jsonl, dialogues: synthetic_dialogue.jsonl}}",
    )
    tasks = set(spec["root"]["dag"]["tasks"])
    assert "import-dataset" in tasks
    assert not tasks & SYNTHESIS


def test_steps_carry_images_of_one_place_and_no_shell_of_their_own(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "demo")
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert container["image"] in {
            image_reference("synthesis"),
            image_reference("training"),
            image_reference("tools"),
        }
        assert "pip" not in " ".join(container["command"][:3]), name


def test_a_wrong_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.yaml or \.json"):
        compile_pipeline(load_run_config(preset="demo"), tmp_path / "pipeline.txt")
    assert list(tmp_path.iterdir()) == []
