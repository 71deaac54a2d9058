"""The rules of a Kubeflow Pipelines server, applied to every compiled pipeline.

Each fault that a live cluster has shown is put back in a test, which says that it is found without a cluster:

| Fault | Test |
|---|---|
| a lock that needs a local build of torch | `tests/packaging/test_locks.py`: a pin that only a local build allows |
| a loop's body reads the list that it iterates over | here: faults put back |
| a loop's item has another type than the input that takes it | here: faults put back |
| artifact metadata that ML Metadata changes | `tests/registry/test_metadata_through_kfp.py` |
| an InferenceService without a protocol | `tests/charts/test_chart_objects.py`: KServe selects the runtime |
| a field of a TrainJob that Kueue drops | `tests/training/test_trainjob_manifest.py`: a field that is not known |
| retries that the server's defaults undo | `tests/pipelines/test_argo_retries.py` |
"""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from kfp import compiler, dsl
from support.compiled import Compiled
from support.kfp_driver import Walk
from support.kfp_values import Refused
from support.small_suite import write_suite

from opencharacter.cluster.loading import load_cluster, shipped_clusters
from opencharacter.cluster.spec import Placement
from opencharacter.config.loading import load_run_config, presets
from opencharacter.evaluation.suites import load_suite
from opencharacter.pipelines.dag import build_pipeline

RELEASE = "inputs={dataset: {characters: c.jsonl, dialogues: d.jsonl}}"
WORKSPACE = "s3://models/opencharacter"
SYNTHESIS = {"ingest", "generate-profiles", "collect-profiles", "generate-dialogues", "collect-dialogues"}
PROMOTION = {"promote", "deploy"}
ALL = SYNTHESIS | PROMOTION | {"mix", "sft", "get-champion", "evaluate", "register", "gate", "report"}


def compiled(folder: Path, pipeline: Any) -> Compiled:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return Compiled(path)


def compile_recipe(folder: Path, preset: str, cluster: str | None = None, *overrides: str) -> Compiled:
    """A recipe for a cluster, whether or not its GPUs suffice."""
    placed = load_cluster(cluster) if cluster else None
    job = placed.placement("sft") if placed else Placement()
    processes = [f"sft.processes={(job.nodes or 1) * job.gpus}", "sft.global_batch_size=1024"] if job.gpus else []
    config = load_run_config(preset=preset, overrides=[*overrides, *processes])
    return compiled(folder, build_pipeline(config, placed))


# A recipe decides the graph, a cluster the pods: each of both, not each pair, which would take minutes.
@pytest.mark.parametrize(
    ("preset", "cluster"),
    [*((preset, None) for preset in presets()), *(("final", name) for name in shipped_clusters())],
)
def test_every_recipe_and_every_cluster_runs_as_the_driver_walks_it(
    tmp_path: Path, preset: str, cluster: str | None
) -> None:
    config = load_run_config(preset=preset)
    walk = Walk(compile_recipe(tmp_path, preset, cluster), tmp_path / "run")
    steps = [ran.step for ran in walk.run(workspace=WORKSPACE)]
    assert set(steps) == ALL
    for stage in ("generate-profiles", "generate-dialogues"):
        workers = [(ran.parameters["shard"], ran.parameters["of"]) for ran in walk.of(stage)]
        assert workers == [(shard, config.shards) for shard in range(config.shards)]
    for collector in ("collect-profiles", "collect-dialogues"):
        [gathered] = walk.of(collector)
        assert len(gathered.artifacts["rows"]) == config.shards


@pytest.mark.parametrize("more", [(), (RELEASE,)])
def test_a_quality_judge_runs_as_the_driver_walks_it(tmp_path: Path, more: tuple[str, ...]) -> None:
    walk = Walk(compile_recipe(tmp_path, "demo", None, "quality.engine=teacher", *more), tmp_path / "run")
    steps = [ran.step for ran in walk.run(workspace=WORKSPACE)]
    [judge] = walk.of("judge-dialogues")
    assert (judge.parameters["quality"]["threshold"], set(judge.artifacts)) == (3, {"dialogues", "characters"})
    assert steps.index("import-dataset" if more else "collect-dialogues") < steps.index("judge-dialogues")
    assert steps.index("judge-dialogues") < steps.index("mix")


def test_a_release_runs_as_the_driver_walks_it(tmp_path: Path) -> None:
    walk = Walk(compile_recipe(tmp_path, "demo", None, RELEASE), tmp_path / "run")
    assert {ran.step for ran in walk.run(workspace=WORKSPACE)} == ALL - SYNTHESIS | {"import-dataset"}


def test_imported_characters_run_as_the_driver_walks_it(tmp_path: Path) -> None:
    corpora = "[{name: own, uri: s.jsonl, license: MIT, strategies: [G]}]"
    inputs = f"inputs={{characters: {{uri: c.jsonl}}, corpora: {corpora}}}"
    walk = Walk(compile_recipe(tmp_path, "demo", None, inputs), tmp_path / "run")
    profiles = {"generate-profiles", "collect-profiles"}
    assert {ran.step for ran in walk.run(workspace=WORKSPACE)} == ALL - profiles | {"import-characters"}


def test_each_suite_is_measured_and_all_are_gated_registered_and_reported(tmp_path: Path) -> None:
    compiled = compile_recipe(tmp_path, "demo", None, "evaluate.suites=[grid,frozen,s3://own/suite]")
    walk = Walk(compiled, tmp_path / "run")
    walk.run(workspace=WORKSPACE)
    assert [ran.parameters["suite"] for ran in walk.of("evaluate")] == ["grid", "frozen", "s3://own/suite"]
    for reader in ("gate", "register", "report"):
        [read] = walk.of(reader)
        assert len(read.artifacts["evaluations"]) == 3


def test_a_suite_that_was_changed_is_measured_again(tmp_path: Path) -> None:
    """KFP's cache goes by a step's arguments; what lies elsewhere may change unseen, so it is not cached."""
    folder = write_suite(tmp_path / "own")

    def evaluation_of(*suites: str) -> tuple[list[str], bool]:
        scratch = Path(mkdtemp(dir=tmp_path))
        compiled = compile_recipe(scratch, "demo", None, f"evaluate.suites=[{','.join(suites)}]")
        walk = Walk(compiled, scratch / "run")
        walk.run(workspace=WORKSPACE)
        options = compiled.tasks["evaluate"]["cachingOptions"]
        return [ran.parameters["suite_digest"] for ran in walk.of("evaluate")], options.get("enableCache", False)

    before = evaluation_of("grid", str(folder))
    assert before == ([load_suite("grid").digest, load_suite(folder).digest], True)
    (folder / "voice.md").write_text("Voice: is it loud?")
    after = evaluation_of("grid", str(folder))
    assert (after[0][0], after[1]) == (before[0][0], True)
    assert after[0][1] != before[0][1]
    assert evaluation_of("grid", "s3://own/suite") == ([before[0][0], ""], False)


def test_a_gate_that_says_no_ends_the_run_with_its_report(tmp_path: Path) -> None:
    def refuse(step: str, executor_input: dict[str, Any]) -> dict[str, Any]:
        return {"parameterValues": {"Output": False, "decision": {}}} if step == "gate" else {}

    walk = Walk(compile_recipe(tmp_path, "demo"), tmp_path / "run", refuse)
    assert {ran.step for ran in walk.run(workspace=WORKSPACE)} == ALL - PROMOTION


@pytest.mark.parametrize(
    ("shards", "told"),
    [
        ([0, 1], "expect STRUCT, got number"),
        ([{"shard": 0}], "no such key: of"),
        ([{"shard": "0", "of": 1}], "expect NUMBER_INTEGER, got string"),
        ([], "the loop that makes it had no item"),
    ],
)
def test_what_a_user_submits_as_shards_is_checked(tmp_path: Path, shards: Any, told: str) -> None:
    with pytest.raises(Refused, match=told):
        Walk(compile_recipe(tmp_path, "demo"), tmp_path / "run").run(workspace=WORKSPACE, shards=shards)


# The faults, put back one at a time.


@dsl.component(base_image="python", install_kfp_package=False)
def work(shard: int, of: int) -> None:
    """A worker of a shard."""


@dsl.component(base_image="python", install_kfp_package=False)
def work_of_list(shard: int, shards: list) -> None:
    """A worker that counts the shards itself."""


@dsl.pipeline(name="list-in-body")
def reads_the_list_that_it_iterates_over(shards: list[int]) -> None:
    with dsl.ParallelFor(shards) as shard:
        work_of_list(shard=shard, shards=shards)


@dsl.pipeline(name="untyped-items")
def iterates_over_a_list_without_a_type(shards: list, of: int) -> None:
    with dsl.ParallelFor(shards) as shard:
        work(shard=shard, of=of)


@dsl.pipeline(name="items-with-keys")
def iterates_over_items_with_keys(shards: list[dict]) -> None:
    with dsl.ParallelFor(shards) as item:
        work(shard=item.shard, of=item.of)


@dsl.pipeline(name="second-parameter")
def has_a_second_parameter(shards: list[int], of: int) -> None:
    with dsl.ParallelFor(shards) as shard:
        work(shard=shard, of=of)


@pytest.mark.parametrize(
    ("pipeline", "arguments", "told"),
    [
        (
            reads_the_list_that_it_iterates_over,
            {"shards": [0, 1]},
            "work-of-list: parent DAG does not have input parameter pipelinechannel--shards$",
        ),
        (
            iterates_over_a_list_without_a_type,
            {"shards": [0, 1], "of": 2},
            'work: input parameter "shard" type mismatch: expect NUMBER_INTEGER, got string',
        ),
    ],
)
def test_faults_put_back_are_refused(tmp_path: Path, pipeline: Any, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        Walk(compiled(tmp_path, pipeline), tmp_path / "run").run(**arguments)


@pytest.mark.parametrize(
    ("pipeline", "arguments"),
    [
        (iterates_over_items_with_keys, {"shards": [{"shard": 0, "of": 2}, {"shard": 1, "of": 2}]}),
        (has_a_second_parameter, {"shards": [0, 1], "of": 2}),
    ],
)
def test_loops_that_a_cluster_ran_are_walked(tmp_path: Path, pipeline: Any, arguments: dict[str, Any]) -> None:
    ran = Walk(compiled(tmp_path, pipeline), tmp_path / "run").run(**arguments)
    assert [each.parameters for each in ran] == [{"shard": 0, "of": 2}, {"shard": 1, "of": 2}]
