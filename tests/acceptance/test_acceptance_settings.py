"""The acceptance suite's variables: each that is bad or missing is named."""

from pathlib import Path

import pytest
from support.acceptance.kube import Kube
from support.acceptance.ledger import Ledger
from support.acceptance.settings import PREFIX, Settings
from support.acceptance.suite import Suite
from support.acceptance.waiting import Deadline

from opencharacter.errors import UserError


def read(**variables: str) -> Settings:
    return Settings.from_environment({PREFIX + name: value for name, value in variables.items()} | {"HOME": "/root"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NAMESPACE", "Kubeflow", "NAMESPACE: String should match"),
        ("WORKSPACE", "/data/runs", "WORKSPACE: String should match"),
        ("KFP_HOST", "localhost:8080", "KFP_HOST: String should match"),
        ("PULL_POLICY", "never", "PULL_POLICY: Input should be"),
        ("MINUTES", "soon", "MINUTES: Input should be a valid integer"),
        ("NAMSPACE", "kubeflow", "NAMSPACE: no such variable; known after"),
        ("IMAGES", "/absent/images.yaml", "IMAGES: /absent/images.yaml: no such file"),
        ("API_DOWN", "docker pause node", "API_DOWN and API_UP: give both, or neither"),
        ("TAG", "0.1.0", "TAG: belongs to REGISTRY"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read(**{name: value})
    assert f"{PREFIX}{told}" in str(caught.value)


def test_all_bad_variables_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read(NAMESPACE="A B", WORKSPACE="here")
    assert len(str(caught.value).splitlines()) == 2


def test_images_of_a_file_go_into_the_cluster_file(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(
        f"images:\n  registry: registry.example.com/oc\n  tag: '1'\n  digests: {{tools: 'sha256:{'a' * 64}'}}\n"
    )
    assert read(IMAGES=str(file)).image_values()["digests"] == {"tools": f"sha256:{'a' * 64}"}
    file.write_text("registry: registry.example.com/oc\n")
    with pytest.raises(UserError, match=r"no key images\.registry"):
        read(IMAGES=str(file))


def test_what_is_missing_is_told_for_each_need(tmp_path: Path) -> None:
    settings = read(NAMESPACE="kubeflow", REGISTRY="registry.example.com/oc", WORKSPACE="s3://bucket/prefix")
    assert settings.missing("images", {}) == []
    assert settings.missing("store", {"AWS_ACCESS_KEY_ID": "key"}) == ["AWS_SECRET_ACCESS_KEY"]
    assert settings.missing("pipelines", {}) == [f"{PREFIX}KFP_HOST"]
    absent = str(tmp_path / "absent")
    assert f"KUBECONFIG (no file {absent})" in settings.missing("cluster", {"KUBECONFIG": absent})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read(NAMESPACE="", KFP_HOST="").namespace is None


def test_pods_reach_a_forwarded_store_by_its_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:40001")
    settings = Settings(namespace="kubeflow", s3_service="svc/seaweedfs:9000")
    kube = Kube(None)  # type: ignore[arg-type]
    suite = Suite(settings, kube, Ledger(kube, "oct-1a2b3c"), Deadline(1), tmp_path, "oct-1a2b3c")
    assert suite.pod_s3 == "http://seaweedfs.kubeflow:9000"
