"""Whether the steps of a run find room on a cluster's nodes: told before anything is sent."""

from decimal import Decimal
from typing import Any

import pytest
from support.kubernetes_api import KubernetesApi

from opencharacter.cluster.checks import Issue
from opencharacter.cluster.loading import load_cluster
from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.errors import UserError
from opencharacter.preflight.checks import require_present
from opencharacter.preflight.cluster import check_cluster
from opencharacter.preflight.nodes import check_room, requests_of
from opencharacter.preflight.requirements import Requirements, requirements_of

AUTOSCALER = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
SMALL = {"cpu": "1930m", "memory": "14Gi", "pods": "110"}


def node(name: str, allocatable: dict[str, str], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def pod(on: str, owner: str = "ReplicaSet", **requests: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "ownerReferences": [{"kind": owner}]},
        "spec": {"nodeName": on, "containers": [{"name": "c", "resources": {"requests": requests}}]},
    }


def look(cluster: KubernetesApi, lab: Cluster, nodes: list[Any], *pods: Any, **needs: Any) -> list[Issue]:
    cluster.objects["/api/v1/nodes"] = {"items": nodes}
    cluster.objects["/api/v1/pods"] = {"items": list(pods)}
    asked = requirements(lab, *needs.pop("steps", ["ingest", "sft", "evaluate"]))
    found = check_cluster(asked.model_copy(update={"parts": (), "secrets": (), "queues": ()} | needs))
    return [each for each in found if each.subject.startswith("Nodes")]


def requirements(lab: Cluster, *names: str) -> Requirements:
    steps = resolve_steps(None, lab)
    return requirements_of({name: step for name, step in steps.items() if name in names}, lab)


def mine(**steps: Any) -> Cluster:
    return Cluster.model_validate({"name": "mine", "defaults": {"memory": "1Gi"}, "steps": steps})


def test_the_shipped_trial_cluster_fits_beside_the_platform_on_a_small_node(cluster: KubernetesApi) -> None:
    platform = pod("kind", cpu="1700m", memory="2Gi")
    [found] = look(cluster, load_cluster("cpu"), [node("kind", SMALL)], platform)
    assert (found.state, found.message) == ("ok", "each pod finds room on the 1 node")


def test_too_full_now_is_a_warning_that_names_steps_node_and_what_is_short(cluster: KubernetesApi) -> None:
    lab = mine(sft={"cpu": "1500m"})
    [found] = look(cluster, lab, [node("a", SMALL), node("b", SMALL)], pod("a", cpu="1700m"), pod("b", cpu="1"))
    assert (found.subject, found.state) == ("Nodes for step sft", "warning")
    assert found.message == ("1.5 CPU, 1 GiB of memory find no room now, and wait: a has 0.23 CPU; b has 0.93 CPU")
    require_present([found])


def test_larger_than_any_node_is_refused(cluster: KubernetesApi) -> None:
    lab = mine(sft={"cpu": "4", "memory": "32Gi"}, evaluate={"memory": "20Gi"})
    found = look(cluster, lab, [node("a", SMALL)])
    assert [(each.subject, each.state) for each in found] == [
        ("Nodes for step sft", "missing"),
        ("Nodes for step evaluate", "missing"),
    ]
    assert "a has 1.93 CPU and 14 GiB of memory" in found[0].message
    with pytest.raises(UserError, match="not found: Nodes for step sft, Nodes for step evaluate"):
        require_present(found)


@pytest.mark.parametrize(
    ("owner", "state"), [("DaemonSet", "missing"), ("Node", "missing"), ("StatefulSet", "warning")]
)
def test_what_never_leaves_a_node_counts_as_the_node(cluster: KubernetesApi, owner: str, state: str) -> None:
    [found] = look(cluster, mine(sft={"cpu": "1800m"}), [node("a", SMALL)], pod("a", owner, cpu="200m"))
    assert found.state == state


@pytest.mark.parametrize("sign", ["cluster-autoscaler", "karpenter", "hidden"])
def test_an_autoscaler_may_add_what_is_needed(cluster: KubernetesApi, sign: str) -> None:
    if sign == "cluster-autoscaler":
        cluster.objects[AUTOSCALER] = {"kind": "ConfigMap"}
    elif sign == "karpenter":
        cluster.objects["/apis/karpenter.sh"] = {"kind": "APIGroup"}
    else:
        cluster.denied.add(AUTOSCALER)
    [found] = look(cluster, mine(sft={"accelerator": {"count": 4}}), [node("a", SMALL)])
    assert (found.state, "autoscaler" in found.message) == ("warning", True)
    [asked] = look(cluster, mine(), [node("a", SMALL)], gpus=1)
    assert asked.state == "missing", "an option says what a node must offer now"


def test_a_pool_without_nodes_is_a_warning(cluster: KubernetesApi) -> None:
    lab = mine(sft={"node_selector": {"pool": "gpu"}, "accelerator": {"count": 8}})
    [found] = look(cluster, lab, [node("a", SMALL, {"pool": "cpu"})])
    assert (found.state, "pool=gpu" in found.message) == ("warning", True)


TAINT = {"key": "team", "value": "b", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("labels", "taint", "asked", "state"),
    [
        ({}, TAINT, {}, "warning"),
        ({}, TAINT, {"tolerations": [{"key": "team", "value": "b"}]}, "ok"),
        ({}, TAINT, {"tolerations": [{"key": "team", "value": "c"}]}, "warning"),
        ({}, TAINT, {"tolerations": [{"key": "team", "operator": "Exists", "effect": "NoExecute"}]}, "warning"),
        ({}, TAINT, {"tolerations": [{"operator": "Exists"}]}, "ok"),
        ({}, {**TAINT, "effect": "PreferNoSchedule"}, {}, "ok"),
        ({}, {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}, {}, "warning"),
        ({}, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, {}, "warning"),
        ({"zone": "a"}, None, {"affinity": [{"key": "zone", "values": ["a", "b"]}]}, "ok"),
        ({"zone": "c"}, None, {"affinity": [{"key": "zone", "values": ["a", "b"]}]}, "warning"),
        ({"zone": "c"}, None, {"affinity": [{"key": "zone", "values": ["a"], "weight": 5}]}, "ok"),
        ({"zone": "a"}, None, {"affinity": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, "warning"),
        ({}, None, {"affinity": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, "ok"),
        ({}, None, {"affinity": [{"key": "zone", "operator": "Exists"}]}, "warning"),
        ({"zone": "a"}, None, {"affinity": [{"key": "zone", "operator": "DoesNotExist"}]}, "warning"),
    ],
)
def test_labels_and_taints_are_read_as_the_scheduler_does(
    cluster: KubernetesApi, labels: dict[str, str], taint: Any, asked: Any, state: str
) -> None:
    nodes = [node("a", SMALL, labels, taints=[taint] if taint else [])]
    [found] = look(cluster, mine(sft={"cpu": "1"} | asked), nodes, steps=["sft"])
    assert found.state == state


def test_a_gpu_s_own_taint_keeps_no_pod_away_that_asks_for_it(cluster: KubernetesApi) -> None:
    """Many clusters tolerate it for such pods, by an admission plugin."""
    gpus = node("g", SMALL | {"nvidia.com/gpu": "4"}, taints=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}])
    [found] = look(cluster, mine(sft={"accelerator": {"count": 4}}), [gpus], steps=["sft"])
    assert found.state == "ok"
    [found] = look(cluster, mine(sft={"cpu": "1"}), [gpus], steps=["sft"])
    assert found.state == "warning"


def test_the_nodes_of_a_trainjob_must_fit_side_by_side(cluster: KubernetesApi) -> None:
    lab = mine(sft={"nodes": 2, "cpu": "1"})
    found = look(cluster, lab, [node("a", SMALL)], steps=["sft"])
    assert [(each.subject, each.state) for each in found] == [("Nodes for the TrainJob of step sft", "missing")]
    assert "2 pods of 1 CPU, 1 GiB of memory find no room on any node: a holds 1" in found[0].message
    [found] = look(cluster, lab, [node("a", SMALL), node("b", SMALL)], steps=["sft"])
    assert found.state == "ok"


def test_a_node_that_is_full_of_pods_has_no_room(cluster: KubernetesApi) -> None:
    [found] = look(cluster, mine(), [node("a", SMALL | {"pods": "1"})], pod("a"))
    assert (found.state, "no place for another pod" in found.message) == ("warning", True)


def test_what_may_not_be_seen_is_no_obstacle(cluster: KubernetesApi) -> None:
    cluster.denied.add("/api/v1/pods")
    [found] = look(cluster, mine(sft={"cpu": "1"}), [node("a", SMALL)], pod("a", cpu="1900m"))
    assert (found.state, "cannot be seen" in found.message) == ("ok", True)
    cluster.denied.add("/api/v1/nodes")
    [found] = look(cluster, mine(sft={"cpu": "99"}), [])
    assert found.state == "unknown"


def test_a_long_list_of_nodes_is_read_to_its_end() -> None:
    pages = {
        "/api/v1/nodes?limit=500": {"items": [], "metadata": {"continue": "x"}},
        "/api/v1/nodes?limit=500&continue=x": {"items": [node("last", SMALL)], "metadata": {}},
    }
    [found] = check_room(pages.get, requirements(mine(), "mix").pods)
    assert found.message == "step mix finds room on the 1 node"


def test_a_pod_s_requests_are_counted_as_the_scheduler_counts_them() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}} | more

    sidecar = container("300m", restartPolicy="Always")
    spec = {"initContainers": [sidecar, container("1")], "containers": [container("500m"), {}]}
    assert requests_of(spec) == {"cpu": Decimal("1.3"), "pods": 1}
    assert requests_of(spec | {"overhead": {"cpu": "200m", "memory": "64Mi"}})["cpu"] == Decimal("1.5")
    assert requests_of({"containers": [container("1"), container("1")]})["cpu"] == 2
    assert requests_of(spec | {"resources": {"requests": {"cpu": "3"}}})["cpu"] == 3
