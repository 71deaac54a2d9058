"""The pipeline compiled for a cluster: what each step's pod asks for, and that nothing else has changed.

After a wanted change, write the files of `golden` anew and read the difference:
`pytest tests/pipelines/test_placing.py --update-golden; git diff tests/pipelines/golden`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from support.compiled import Compiled, compile_for, placement_of, wiring_of, without_placement

from opencharacter.cluster.images import STEP_IMAGES
from opencharacter.cluster.loading import load_cluster, shipped_clusters
from opencharacter.cluster.quantities import seconds
from opencharacter.cluster.spec import STEPS, Cluster, StepName
from opencharacter.config.loading import load_run_config, presets
from opencharacter.errors import UserError
from opencharacter.pipelines.compile import check_placement
from opencharacter.templates import OVERRIDE_VARIABLE, packaged_templates

GOLDEN = Path(__file__).parent / "golden"
RECIPE = {"cpu": "demo", "node8": "final", "pool": "final"}
OPTIONAL = ("import-dataset", "import-characters", "judge-dialogues")
PLACED: list[StepName] = [step for step in STEPS if step not in OPTIONAL]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compiled]:
    """A recipe compiled for each shipped cluster, once."""
    folder = tmp_path_factory.mktemp("compiled")
    made = {cluster: compile_for(folder, preset, cluster) for cluster, preset in RECIPE.items()}
    return made.__getitem__


@pytest.fixture(scope="module")
def unplaced(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_for(tmp_path_factory.mktemp("unplaced"), "final")


def check_golden(name: str, told: Any, update: bool) -> None:
    path = GOLDEN / name
    text = yaml.safe_dump(told, sort_keys=False, width=120, default_flow_style=None)
    if update:
        path.write_text(text, encoding="utf-8")
    assert yaml.safe_load(text) == yaml.safe_load(path.read_text(encoding="utf-8")), f"see the top of {__file__}"


@pytest.mark.parametrize("cluster", RECIPE)
def test_where_the_steps_run_is_as_reviewed(
    compiled: Callable[[str], Compiled], cluster: str, update_golden: bool
) -> None:
    check_golden(f"{cluster}.yaml", placement_of(compiled(cluster)), update_golden)


def test_what_the_steps_do_is_as_reviewed(unplaced: Compiled, update_golden: bool) -> None:
    check_golden("wiring.yaml", wiring_of(unplaced), update_golden)


def test_a_cluster_changes_images_and_platform_settings_only(
    compiled: Callable[[str], Compiled], unplaced: Compiled
) -> None:
    assert unplaced.platform == {}
    assert without_placement(compiled("pool").spec) == without_placement(unplaced.spec)
    assert compiled("pool").spec != unplaced.spec


@pytest.mark.parametrize("cluster", RECIPE)
def test_kfp_reads_the_whole_file_back(compiled: Callable[[str], Compiled], cluster: str) -> None:
    placed = compiled(cluster)
    assert components.load_component_from_file(str(placed.path)).name.startswith("opencharacter-")
    for step in PLACED:
        # Fields that KFP does not know would raise.
        json_format.ParseDict(placed.kubernetes(step), kubernetes_executor_config_pb2.KubernetesExecutorConfig())


@pytest.mark.parametrize("cluster", RECIPE)
@pytest.mark.parametrize("step", PLACED)
def test_each_pod_gets_what_the_cluster_says(compiled: Callable[[str], Compiled], cluster: str, step: StepName) -> None:
    placed, declared = compiled(cluster), load_cluster(cluster)
    pod = declared.pod(step)
    container, settings = placed.container(step), placed.kubernetes(step)

    assert container["image"] == f"opencharacter/{STEP_IMAGES[step]}:{declared.images.tag}"
    resources = container["resources"]
    assert (resources["resourceCpuRequest"], resources.get("resourceCpuLimit")) == (pod.cpu, None)
    assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == pod.memory
    accelerator = resources.get("accelerator", {})
    assert (accelerator.get("resourceType"), accelerator.get("resourceCount")) == (
        ("nvidia.com/gpu", str(pod.gpus)) if pod.gpus else (None, None)
    )
    environment = placed.environment(step)
    assert environment["OPENCHARACTER_GPUS"] == str(pod.gpus)
    assert environment.get("NVIDIA_VISIBLE_DEVICES") == (None if pod.gpus else "void")

    assert settings.get("nodeSelector", {}).get("labels", {}) == (pod.node_selector or {})
    assert settings.get("tolerations", []) == [t.model_dump(exclude_none=True) for t in pod.tolerations or []]
    labels = settings.get("podMetadata", {}).get("labels", {})
    assert labels.get("kueue.x-k8s.io/queue-name") == pod.queue
    assert labels.get("kueue.x-k8s.io/priority-class") == pod.priority
    assert settings["securityContext"] == {"runAsUser": "65532", "runAsGroup": "65532", "runAsNonRoot": True}
    assert settings["imagePullPolicy"] == "IfNotPresent"
    deadline = settings.get("activeDeadlineSeconds")
    assert deadline == (str(seconds(pod.timeout)) if pod.timeout else None)

    retries = placed.tasks[step].get("retryPolicy", {})
    assert retries.get("maxRetryCount", 0) == (pod.retries.count if pod.retries else 0)
    assert not retries or int(retries["backoffMaxDuration"][:-1]) >= 72 * 3600, "no step may outlast its retries"

    secrets = {secret["secretName"] for secret in settings["secretAsEnv"]}
    assert secrets == {secret.secret for secret in declared.secrets if secret.serves(step)}
    assert "opencharacter-s3" in secrets
    mounts = {mount["mountPath"] for mount in settings["emptyDirMounts"] + settings.get("genericEphemeralVolume", [])}
    assert mounts == {"/tmp", "/var/opencharacter"} | ({"/dev/shm"} if pod.shm else set())
    assert environment["HOME"] == environment["TMPDIR"] == "/var/opencharacter"


def test_training_over_nodes_is_handed_to_a_trainjob(compiled: Callable[[str], Compiled]) -> None:
    told = json.loads(compiled("pool").environment("sft")["OPENCHARACTER_TRAINJOB"])
    assert (told["nodes"], told["gpus_per_node"], told["queue"]) == (2, 4, "opencharacter")
    assert "accelerator" not in compiled("pool").container("sft")["resources"]
    for cluster in ("cpu", "node8"):
        assert "OPENCHARACTER_TRAINJOB" not in compiled(cluster).environment("sft")


REFUSED = {(recipe, "cpu"): "run: sft.processes" for recipe in presets() if recipe != "demo"} | {
    ("demo", "pool"): "run: sft.processes"
}


@pytest.mark.parametrize("cluster", shipped_clusters())
@pytest.mark.parametrize("recipe", presets())
def test_every_recipe_fits_a_cluster_or_is_refused_with_the_key(tmp_path: Path, recipe: str, cluster: str) -> None:
    if (recipe, cluster) not in REFUSED:
        check_placement(load_run_config(preset=recipe), load_cluster(cluster))
    else:
        with pytest.raises(UserError, match=REFUSED[recipe, cluster]) as caught:
            compile_for(tmp_path, recipe, cluster)
        assert f"'{cluster}'" in str(caught.value)
        assert list(tmp_path.iterdir()) == []


def mine(**keys: Any) -> Cluster:
    env = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    return Cluster.model_validate({"name": "mine", "env": env} | keys)


def placed_by(tmp_path: Path, cluster: Cluster, *run: str) -> Compiled:
    from opencharacter.pipelines.compile import compile_pipeline

    config = load_run_config(preset="demo", overrides=run)
    return Compiled(compile_pipeline(config, tmp_path / "mine.yaml", cluster=cluster))


def test_images_come_from_one_place(tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    images = {"registry": "registry.example.com:5000/oc", "tag": "1.2.3", "digests": {"tools": digest}}
    placed = placed_by(tmp_path, mine(images=images | {"pull_policy": "Always", "pull_secrets": ["registry"]}))
    assert placed.container("mix")["image"] == f"registry.example.com:5000/oc/tools@{digest}"
    assert placed.container("sft")["image"] == "registry.example.com:5000/oc/training:1.2.3"
    assert all(placed.container(step)["image"].startswith("registry.example.com:5000/oc/") for step in placed.tasks)
    assert placed.kubernetes("deploy")["imagePullPolicy"] == "Always"
    assert [secret["secretName"] for secret in placed.kubernetes("deploy")["imagePullSecret"]] == ["registry"]


def test_a_cpu_limit_is_set_only_where_the_cluster_says_so(tmp_path: Path) -> None:
    steps = {"sft": {"cpu": 2, "cpu_limit": 4}, "mix": {"cpu_limit": "500m"}}
    placed = placed_by(tmp_path, mine(defaults={"cpu": "100m"}, steps=steps))

    def cpu(step: StepName) -> tuple[str | None, str | None]:
        resources = placed.container(step)["resources"]
        return resources.get("resourceCpuRequest"), resources.get("resourceCpuLimit")

    assert (cpu("sft"), cpu("mix"), cpu("gate")) == (("2", "4"), ("100m", "500m"), ("100m", None))


def test_the_import_of_a_release_is_placed_too(tmp_path: Path) -> None:
    release = "inputs={dataset: {characters: s3://data/characters.jsonl, dialogues: s3://data/dialogues.jsonl}}"
    placed = placed_by(tmp_path, mine(defaults={"memory": "4Gi"}), release)
    assert placed.container("import-dataset")["resources"]["resourceMemoryLimit"] == "4Gi"
    assert placed.kubernetes("import-dataset")["securityContext"]["runAsNonRoot"] is True


def test_rules_of_node_affinity_hold_together_and_preferences_are_weighed(tmp_path: Path) -> None:
    """Kubernetes ORs node selector terms, so two rules must be one term."""
    affinity = [
        {"key": "zone", "values": ["a"]},
        {"key": "gpu", "operator": "Exists"},
        {"key": "disk", "values": ["nvme"], "weight": 5},
    ]
    terms = placed_by(tmp_path, mine(steps={"sft": {"affinity": affinity}})).kubernetes("sft")["nodeAffinity"]
    assert [[rule["key"] for rule in term["matchExpressions"]] for term in terms] == [["zone", "gpu"], ["disk"]]
    assert [term.get("weight") for term in terms] == [None, 5]


def test_caching_can_be_turned_off_and_never_on_for_the_registry(tmp_path: Path) -> None:
    placed = placed_by(tmp_path, mine(defaults={"caching": True}, steps={"mix": {"caching": False}}))
    cached = {step for step, task in placed.tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert not cached & {"mix", "get-champion", "register", "promote"}
    assert "sft" in cached


def test_a_step_that_is_told_nothing_asks_for_nothing(tmp_path: Path) -> None:
    placed = placed_by(tmp_path, mine())
    assert "resources" not in placed.container("mix")
    assert "retryPolicy" not in placed.tasks["mix"]
    assert placed.kubernetes("mix")["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("keys", "run", "told"),
    [
        ({"env": {}}, (), r"env\.MLFLOW_TRACKING_URI: step get-champion: no address"),
        ({}, ("engines.judge.api_key_env=JUDGE_KEY",), r"secrets: step evaluate: no Secret gives the step JUDGE_KEY"),
        ({}, ("engines.teacher.tensor_parallel=2",), r"steps\.generate-profiles\.accelerator\.count: .* takes 2"),
        ({}, ("sft.base_model=/home/me/model",), r"run: sft\.base_model: /home/me/model is on this machine"),
        (
            {},
            ("inputs.personas.0.uri=data/p.jsonl",),
            r"run: inputs\.personas\.0\.uri: data/p\.jsonl is on this machine",
        ),
        (
            {},
            ("mix.frozen_suites=[suites/mine]",),
            r"run: mix\.frozen_suites\.0: suites/mine is on this machine",
        ),
        ({}, ("inputs.personas.0.uri=/data/p.jsonl",), r"run: inputs\.personas\.0\.uri: /data/p\.jsonl is on this"),
        ({"defaults": {"cpu": 2}}, ("sft.processes=4",), r"sft\.processes: .* 4 training processes on no GPU and 2"),
        ({"defaults": {"cpu": "100m"}}, ("sft.processes=2",), r"2 training processes on no GPU and 1 core\(s\)"),
        ({"defaults": {"cpu_limit": 3}}, ("sft.processes=4",), r"4 training processes on no GPU and 3 core\(s\)"),
    ],
)
def test_a_run_that_cannot_work_there_is_refused(tmp_path: Path, keys: Any, run: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        placed_by(tmp_path, mine(**keys), *run)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def own_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "rewrite.md").write_text(packaged_templates()["rewrite.md"].text + "\nKeep it short.\n")
    monkeypatch.setenv(OVERRIDE_VARIABLE, str(folder))
    return folder


def test_overridden_prompts_are_mounted_and_their_hashes_are_arguments(
    tmp_path: Path, own_prompts: Path, unplaced: Compiled
) -> None:
    placed = placed_by(tmp_path, mine(prompts_config_map="my-prompts"))
    for step in PLACED:
        [mount] = placed.kubernetes(step)["configMapAsVolume"]
        assert (mount["configMapName"], mount["mountPath"]) == ("my-prompts", "/etc/opencharacter/prompts")
        assert placed.environment(step)[OVERRIDE_VARIABLE] == "/etc/opencharacter/prompts"

    def hashes(pipeline: Compiled) -> dict[str, str]:
        told: dict[str, str] = pipeline.spec["root"]["inputDefinitions"]["parameters"]["run"]["defaultValue"]["prompts"]
        return told

    changed = {name for name, value in hashes(placed).items() if hashes(unplaced)[name] != value}
    assert changed == {"rewrite.md"}


def test_without_an_override_no_config_map_is_mounted(compiled: Callable[[str], Compiled]) -> None:
    assert load_cluster("pool").prompts_config_map
    assert "configMapAsVolume" not in compiled("pool").kubernetes("generate-dialogues")


def test_overridden_prompts_need_a_config_map(tmp_path: Path, own_prompts: Path) -> None:
    with pytest.raises(UserError, match="names no prompts_config_map") as caught:
        placed_by(tmp_path, mine())
    assert "kubectl create configmap" in (caught.value.hint or "")
