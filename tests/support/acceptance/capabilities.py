"""What a cluster can do besides what every test needs."""

import pytest
import yaml
from support.acceptance.kube import Kube

_TRAINER, _KUEUE = "trainer.kubeflow.org/v1alpha1", "kueue.x-k8s.io/v1beta2"


def require_trainer(kube: Kube) -> None:
    """Skip without Kubeflow Trainer and its runtime for torch."""
    if not has_trainer(kube):
        pytest.skip(f"no Kubeflow Trainer: the cluster does not serve trainjobs ({_TRAINER})")
    if kube.get(f"/apis/{_TRAINER}/clustertrainingruntimes/torch-distributed") is None:
        pytest.skip("no ClusterTrainingRuntime torch-distributed: docs/install.md, step 1")


def require_kueue(kube: Kube, framework: str) -> None:
    """Skip without Kueue, or where its configuration can be read and leaves a framework out."""
    if not has_kueue(kube):
        pytest.skip(f"no Kueue: the cluster does not serve localqueues ({_KUEUE})")
    frameworks = _frameworks(kube)
    if frameworks is not None and framework not in frameworks:
        pytest.skip(f"Kueue does not queue {framework}: not in integrations.frameworks of kueue-manager-config")


def has_trainer(kube: Kube) -> bool:
    """Whether there is Kubeflow Trainer."""
    return kube.serves(_TRAINER, "trainjobs")


def has_monitors(kube: Kube) -> bool:
    """Whether there is the Prometheus operator."""
    return kube.serves("monitoring.coreos.com/v1", "servicemonitors")


def has_kueue(kube: Kube) -> bool:
    """Whether there are queues."""
    return kube.serves(_KUEUE, "localqueues")


def require_storage_class(kube: Kube, named: str | None) -> None:
    """Skip where a scratch volume would find no storage class."""
    classes = kube.find("/apis/storage.k8s.io/v1/storageclasses")
    if named:
        if named not in {each["metadata"]["name"] for each in classes}:
            pytest.skip(f"no storage class {named}")
        return
    key = "storageclass.kubernetes.io/is-default-class"
    if not any((each["metadata"].get("annotations") or {}).get(key) == "true" for each in classes):
        pytest.skip("no default storage class; name one: OPENCHARACTER_CLUSTER_STORAGE_CLASS")


def _frameworks(kube: Kube) -> list[str] | None:
    """The frameworks that Kueue's configuration names; none if it cannot be read, or leaves them to the default."""
    found = kube.get("/api/v1/namespaces/kueue-system/configmaps/kueue-manager-config")
    text = ((found or {}).get("data") or {}).get("controller_manager_config.yaml")
    named = ((yaml.safe_load(text) or {}).get("integrations") or {}).get("frameworks") if text else None
    return list(named) if named else None
