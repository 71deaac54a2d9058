"""Names of queues over upgrades: helm against a stand-in of the Kubernetes API."""

from pathlib import Path

import pytest
import yaml
from support import stand_in
from support.helm import CHART, helm
from support.kubernetes_api import KubernetesApi

SERVED = {
    "apiregistration.k8s.io/v1": (),
    "serving.kserve.io/v1alpha1": (),
    "monitoring.coreos.com/v1": (),
    "kueue.x-k8s.io/v1beta2": ("localqueues",),
}


def discovery(api: KubernetesApi) -> None:
    """What helm reads of a cluster's APIs before it renders."""
    api.objects |= {"/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}, "/api": {"versions": ["v1"]}}
    api.objects["/api/v1"] = {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
    groups = []
    for served, resources in SERVED.items():
        name, _, version = served.partition("/")
        groups.append({"name": name, "versions": [{"groupVersion": served, "version": version}]})
        kinds = [{"name": each, "namespaced": True, "kind": "LocalQueue", "verbs": ["get"]} for each in resources]
        api.objects[f"/apis/{served}"] = {"kind": "APIResourceList", "groupVersion": served, "resources": kinds}
    api.objects["/apis"] = {"kind": "APIGroupList", "groups": groups}


@pytest.mark.parametrize(
    ("there", "settings", "refused"),
    [
        ("opencharacter", (), True),
        ("opencharacter", ("--set", "kueue.clusterQueue=opencharacter"), False),
        ("opencharacter-team-a", (), False),
    ],
)
def test_an_upgrade_that_would_move_a_queue_is_refused_with_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, settings: tuple[str, ...], refused: bool
) -> None:
    """Kueue refuses it too ("field is immutable"), but only after helm has changed other objects."""
    api = KubernetesApi()
    discovery(api)
    path = "/apis/kueue.x-k8s.io/v1beta2/namespaces/team-a/localqueues/opencharacter"
    api.objects[path] = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "LocalQueue",
        "metadata": {"name": "opencharacter", "namespace": "team-a"},
        "spec": {"clusterQueue": there},
    }
    with stand_in.serving(api.handler()) as url:
        stand_in.use_kubeconfig(url, tmp_path, monkeypatch)
        kubeconfig = tmp_path / "kubeconfig"
        told = yaml.safe_load(kubeconfig.read_text())
        kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config"} | told))
        done = helm(
            *("template", "opencharacter", str(CHART), "-n", "team-a", "--dry-run=server"),
            *("-f", str(CHART / "values-production.yaml"), "--kubeconfig", str(kubeconfig), *settings),
        )
    # The stand-in has no schemas for helm's own validation, which comes after the templates.
    assert "openapi" in done.stderr or refused, done.stderr
    assert ("Keep it: --set kueue.clusterQueue=opencharacter" in done.stderr) == refused, done.stderr
