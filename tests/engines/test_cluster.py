"""Which cluster and namespace a process means."""

from pathlib import Path

import pytest
from support import stand_in

from opencharacter import kube as cluster


@pytest.fixture(autouse=True)
def _no_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "_POD_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_a_pod_means_its_own_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch, "theirs")
    (tmp_path / "namespace").write_text("ours\n", encoding="utf-8")
    assert cluster.cluster_namespace() == "theirs", "a file alone makes no pod"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert cluster.cluster_namespace() == "ours"


def test_elsewhere_the_kubeconfigs_context_says_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cluster.cluster_namespace() == "default"
    stand_in.use_kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch, "theirs")
    assert cluster.cluster_namespace() == "theirs"


@pytest.mark.parametrize("text", ["", "[]", "contexts: 1", "current-context: gone\ncontexts: []"])
def test_a_kubeconfig_that_names_none_means_default(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text, encoding="utf-8")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    assert cluster.cluster_namespace() == "default"
