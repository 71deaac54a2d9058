"""Cluster profiles as people write them, and what they are told when one is wrong."""

from pathlib import Path

import pytest

from opencharacter.cluster.loading import cluster_text, load_cluster, shipped_clusters
from opencharacter.cluster.quantities import byte_count, cores, seconds
from opencharacter.cluster.spec import Cluster
from opencharacter.errors import UserError

STEPS_LISTED = r"'ingest', 'import-dataset', .*'promote' or 'deploy'"


def test_three_clusters_are_shipped() -> None:
    assert shipped_clusters() == ["cpu", "node8", "pool"]
    for name in shipped_clusters():
        assert load_cluster(name).name == name


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "steps.sft.accelerator.count=3",
            r"steps\.sft\.accelerator\.count: Input should be 1, 2, 4, 8 or 16 \(got 3\)",
        ),
        ("steps.trian.cpu=2", rf"steps\.trian: Input should be {STEPS_LISTED}"),
        ("secrets.0.steps=[trian]", rf"secrets\.0\.steps\.0: Input should be {STEPS_LISTED}"),
        ("steps.sft.memory=24GB", r"steps\.sft\.memory: expected a whole quantity of bytes, such as 512Mi or 24Gi"),
        ("steps.sft.memory=1.5Gi", r"steps\.sft\.memory: expected a whole quantity"),
        ("steps.sft.cpu=two", r"steps\.sft\.cpu: expected cores, such as 500m, 2 or 7\.5 \(got 'two'\)"),
        ("defaults.timeout=1d", r"defaults\.timeout: expected a duration, such as 90s, 10m or 2h"),
        ("images.registri=x", r"images\.registri: unknown key; did you mean 'registry'\?"),
        ("images.registry=https://r/x", r"images\.registry: expected what stands before an image's name"),
        ("images.tag=latest", r"images\.tag: expected the tag that was built, never 'latest'"),
        ("images.digests={tools: abc}", r"images\.digests\.tools: expected an image digest"),
        (
            "images.digests={toools: abc}",
            r"images\.digests\.toools: Input should be 'synthesis', 'training', 'tools', 'serving' or 'lm-eval'",
        ),
        ("steps.mix.nodes=2", r"steps\.mix\.nodes: only the step 'sft' runs on several nodes"),
        ("defaults.nodes=2", r"defaults\.nodes: only the step 'sft'"),
        ("steps.sft.cpu_limit=4", r"steps\.sft: cpu_limit 4 is less than cpu, which is 32"),
        (
            "defaults.cpu_limit=4000m",
            r"steps\.generate-profiles: with the defaults, cpu_limit 4000m is less than cpu, which is 24",
        ),
        ("steps.sft.shm=400Gi", r"steps\.sft: shm 400Gi is part of memory, which is 400Gi"),
        ("steps.mix={shm: 8Gi}", r"steps\.mix: with the defaults, shm 8Gi is part of memory, which is 8Gi"),
        ("steps.mix.priority=high", r"steps\.mix: priority is Kueue's, so it needs a queue"),
        ("steps.sft.priority=Fast", r"steps\.sft\.priority: expected a Kubernetes name: .* {namespace} stands for"),
        (
            f"namespace={'n' * 41}",
            r"steps\.generate-profiles\.priority: 'opencharacter-synthesis-n+' is longer than the 63 characters",
        ),
        ("spot={}", r"steps\.generate-profiles\.spot: the section `spot` does not say which nodes these are"),
        ("steps.mix.tolerations=[{key: a, operator: Exists, value: b}]", r"tolerations\.0: .*Exists has no value"),
        ("steps.mix.tolerations=[{value: b}]", r"tolerations\.0: a toleration without a key needs operator Exists"),
        ("steps.mix.affinity=[{key: zone}]", r"affinity\.0: operator In needs values"),
        ("env.HF_TOKEN=hf_x", r"env\.HF_TOKEN: looks like a secret; put it into a Kubernetes Secret"),
        ("env.HOME=/root", r"env\.HOME: is set for every step already"),
        ("env.AWS_ACCESS_KEY_ID=A", r"env\.AWS_ACCESS_KEY_ID: looks like a secret"),
        ("secrets.2.keys={token: AWS_ACCESS_KEY_ID}", r"secrets\.2\.keys: AWS_ACCESS_KEY_ID is set by something else"),
        ("run_as_user=0", r"run_as_user: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_what_is_allowed(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        load_cluster("pool", [override])
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("cluster pool")


def test_a_secret_that_stands_in_the_cluster_is_not_repeated_in_the_message() -> None:
    with pytest.raises(UserError) as caught:
        load_cluster("pool", ["env.HF_TOKEN=hf_verysecret"])
    assert "hf_verysecret" not in str(caught.value)


def test_a_file_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsteps:\n  mix:\n    memry: 8Gi\n")
    with pytest.raises(UserError, match=r"mine\.yaml:4: steps\.mix\.memry: unknown key; did you mean 'memory'\?"):
        load_cluster(str(path))


def test_unknown_names_and_files_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cluster 'gpu'; there are: cpu, node8, pool"):
        load_cluster("gpu")
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        load_cluster(str(tmp_path / "none.yaml"))


def test_a_shipped_cluster_is_a_start_for_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(cluster_text("node8"))
    assert load_cluster(str(path)) == load_cluster("node8")


def test_an_override_changes_one_step_although_the_file_shares_the_section() -> None:
    cluster = load_cluster("pool", ["steps.generate-profiles.cpu=4"])
    assert cluster.placement("generate-profiles").cpu == "4"
    assert cluster.placement("generate-dialogues").cpu == "24"


def test_a_priority_of_the_cluster_may_hold_the_namespace() -> None:
    cluster = load_cluster("pool", ["namespace=team-b", "steps.evaluate.priority=fast"])
    assert cluster.placement("sft").priority == "opencharacter-training-team-b"
    assert cluster.placement("evaluate").priority == "fast"


def test_a_step_overrides_the_defaults_key_by_key_and_null_takes_back() -> None:
    cluster = Cluster.model_validate(
        {
            "name": "mine",
            "defaults": {"cpu": 2, "memory": "8Gi", "queue": "gpus", "retries": {"count": 3}},
            "steps": {"mix": {"memory": "16Gi", "queue": None}},
        }
    )
    mix = cluster.placement("mix")
    assert (mix.cpu, mix.memory, mix.queue) == ("2", "16Gi", None)
    assert cluster.placement("gate").queue == "gpus"


def test_spot_adds_the_nodes_selector_and_tolerations() -> None:
    worker = load_cluster("pool").placement("generate-dialogues")
    assert worker.node_selector == {"opencharacter/pool": "synthesis", "opencharacter/spot": "true"}
    assert [toleration.key for toleration in worker.tolerations or []] == ["nvidia.com/gpu", "opencharacter/spot"]


def test_the_pod_that_starts_a_trainjob_takes_no_gpu_and_waits_without_a_deadline() -> None:
    cluster = load_cluster("pool")
    nodes, pod = cluster.placement("sft"), cluster.pod("sft")
    assert (nodes.gpus, nodes.nodes, nodes.queue) == (4, 2, "opencharacter")
    assert (pod.gpus, pod.queue, pod.timeout, pod.node_selector) == (0, None, None, {"opencharacter/pool": "cpu"})
    assert pod.retries == nodes.retries


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("2", 2), ("7.5", 7.5)])
def test_cores(text: str, number: float) -> None:
    assert cores(text) == number


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("1K", 1000), ("2Ki", 2048), ("3Gi", 3 * 2**30), ("4T", 4 * 10**12)]
)
def test_bytes(text: str, number: int) -> None:
    assert byte_count(text) == number


def test_seconds() -> None:
    assert [seconds(text) for text in ("90s", "10m", "2h")] == [90, 600, 7200]
