"""The compiled pipeline: all stages, for every recipe, and the same wherever it is to run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.crds import crd_faults

from opencharacter.cluster.images import image_reference
from opencharacter.cluster.loading import load_cluster
from opencharacter.config.loading import load_run_config, presets
from opencharacter.errors import UserError
from opencharacter.pipelines.compile import compile_pipeline, read_ir

STAGES = {"mix", "sft", "get-champion", "register", "gate", "report"}
SYNTHESIS = {"ingest", "collect-profiles", "collect-dialogues"}


def compiled(tmp_path: Path, preset: str, *overrides: str, workspace: str | None = None) -> dict[str, Any]:
    config = load_run_config(preset=preset, overrides=overrides)
    return read_ir(compile_pipeline(config, tmp_path / f"{preset}.yaml", workspace=workspace))[0]


@pytest.mark.parametrize("preset", presets())
def test_every_recipe_compiles_with_all_stages(tmp_path: Path, preset: str) -> None:
    spec = compiled(tmp_path, preset)
    assert set(spec["root"]["dag"]["tasks"]) >= STAGES | SYNTHESIS
    steps = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    looped = {"generate-profiles", "generate-dialogues", "evaluate"}
    assert steps == STAGES | SYNTHESIS | looped | {"promote", "deploy"}


def test_synthesis_runs_by_shards_and_evaluation_by_suites(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "demo")
    loops = [task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    over = {
        name: loop["parameterIterator"]["items"]["inputParameter"].removeprefix("pipelinechannel--")
        for loop in loops
        for name in spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    }
    assert over == {"generate-profiles": "shards", "generate-dialogues": "shards", "evaluate": "suites"}


@pytest.mark.parametrize("dataset", [False, True])
def test_a_quality_judge_stands_between_dialogues_and_mixture(tmp_path: Path, dataset: bool) -> None:
    engine = ("engines.critic.model=m", "engines.critic.base_url=http://critic/v1")
    quality = ("quality.engine=critic", "quality.threshold=4")
    source = "collect-dialogues"
    if dataset:
        config = tmp_path / "run.yaml"
        config.write_text(
            "name: released\ninputs: {dataset: {characters: c.jsonl, dialogues: d.jsonl}}\nsft: {base_model: m}\n"
        )
        loaded = load_run_config(config, overrides=[*engine, *quality])
        spec = read_ir(compile_pipeline(loaded, tmp_path / "released.yaml"))[0]
        source = "import-dataset"
    else:
        spec = compiled(tmp_path, "demo", *engine, *quality)
    tasks = spec["root"]["dag"]["tasks"]
    judge = tasks["judge-dialogues"]["inputs"]
    assert judge["artifacts"]["dialogues"]["taskOutputArtifact"]["producerTask"] == source
    settings = judge["parameters"]["quality"]["runtimeValue"]["constant"]
    assert (settings["engine"], settings["threshold"], settings["repair"]) == ("critic", 4, True)
    for reader in ("mix", "report"):
        read = tasks[reader]["inputs"]["artifacts"]["dialogues"]["taskOutputArtifact"]
        assert (read["producerTask"], read["outputArtifactKey"]) == ("judge-dialogues", "judged")


def test_without_a_quality_section_there_is_no_judge(tmp_path: Path) -> None:
    assert "judge-dialogues" not in compiled(tmp_path, "demo")["root"]["dag"]["tasks"]


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
    assert not uncached & {"ingest", "mix", "sft", "gate"}


def test_a_release_stands_in_place_of_synthesis(tmp_path: Path) -> None:
    spec = compiled(
        tmp_path,
        "demo",
        "inputs={dataset: {characters: synthetic_character.jsonl, dialogues: synthetic_dialogue.jsonl}}",
    )
    tasks = set(spec["root"]["dag"]["tasks"])
    assert "import-dataset" in tasks
    assert not tasks & SYNTHESIS


CAST = "inputs={characters: {uri: cast.jsonl}, corpora: [{name: own, uri: s.jsonl, license: MIT, strategies: [G]}]}"


def test_imported_characters_stand_in_place_of_profile_synthesis(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "demo", CAST)
    tasks = spec["root"]["dag"]["tasks"]
    assert {"ingest", "import-characters", "collect-dialogues"} <= set(tasks)
    steps = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    assert not steps & {"generate-profiles", "collect-profiles", "import-dataset"}
    made_by = {
        name: task["taskOutputArtifact"]["producerTask"] for name, task in tasks["mix"]["inputs"]["artifacts"].items()
    }
    assert made_by["characters"] == "import-characters"
    assert "personas" not in tasks["report"]["inputs"]["artifacts"]


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


def objects(tmp_path: Path, name: str, **settings: Any) -> list[dict[str, Any]]:
    config = load_run_config(preset="demo", overrides=settings.pop("overrides", ()))
    target = compile_pipeline(config, tmp_path / name, kubernetes=True, **settings)
    return list(yaml.safe_load_all(target.read_text(encoding="utf-8")))


def test_kubernetes_objects_fit_kfp_s_own_definitions(tmp_path: Path) -> None:
    cluster = load_cluster("cpu", overrides=["namespace=team-a"])
    pipeline, version = objects(tmp_path, "objects.yaml", cluster=cluster, workspace="s3://models/demo")
    assert [pipeline["kind"], version["kind"]] == ["Pipeline", "PipelineVersion"]
    assert pipeline["metadata"] == {"name": "opencharacter-demo", "namespace": "team-a"}
    assert version["metadata"]["namespace"] == "team-a"
    assert version["spec"]["pipelineName"] == "opencharacter-demo"
    ir = compile_pipeline(
        load_run_config(preset="demo"), tmp_path / "ir.yaml", cluster=cluster, workspace="s3://models/demo"
    )
    spec, platforms = yaml.safe_load_all(ir.read_text(encoding="utf-8"))
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platforms
    assert [crd_faults(pipeline), crd_faults(version)] == [[], []]


def test_a_version_is_named_by_its_content(tmp_path: Path) -> None:
    first, same, other = (
        objects(tmp_path, "objects.yaml", overrides=[f"seed={seed}"])[1]["metadata"]["name"] for seed in (1, 1, 2)
    )
    assert first == same != other
    assert re.fullmatch(r"opencharacter-demo-[0-9a-f]{8}", first)


def test_kubernetes_objects_are_not_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.yaml$"):
        objects(tmp_path, "objects.json")
    assert list(tmp_path.iterdir()) == []
