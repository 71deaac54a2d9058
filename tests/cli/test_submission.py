"""`opencharacter pipeline submit`: what is looked for before a run is sent."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.kfp_api import KfpApi, kfp_api
from support.kubernetes_api import KubernetesApi
from support.object_store import ObjectStore
from support.registry_api import RegistryApi

from opencharacter.cli import main
from opencharacter.library import LIBRARY_LABEL, fingerprint

Submit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_api() as state:
        yield state


@pytest.fixture
def submit(
    api: KfpApi,
    registry: RegistryApi,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Submit:
    """Submits a run that fits the profile `cpu`, whose images the registry holds."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("synthesis", "training", "tools"):
        registry.add(f"oc/{name}:0.1.0", {LIBRARY_LABEL: fingerprint()})

    def run(*arguments: str, workspace: str = "s3://models/oc") -> tuple[int, str, str]:
        named = ("--preset", "demo", "--cluster", "cpu", "--cluster-set", f"images.registry={registry.address}/oc")
        with pytest.raises(SystemExit) as caught:
            main(["pipeline", "submit", *named, "--host", api.url, "--workspace", workspace, *arguments])
        streams = capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err

    return run


def test_a_run_whose_images_are_there_is_sent(submit: Submit, api: KfpApi, registry: RegistryApi) -> None:
    code, told, _ = submit()
    assert (code, len(api.runs)) == (0, 1)
    assert f"ok      Image {registry.address}/oc/tools:0.1.0: is in the registry, with library {fingerprint()}" in told
    assert "unknown Cluster: preflight: no cluster is configured" in told
    assert "unknown Bucket s3://models/oc: not asked: this process has no keys" in told


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_with_an_image_that_no_registry_holds_is_refused(
    submit: Submit, api: KfpApi, registry: RegistryApi, more: tuple[str, ...]
) -> None:
    registry.images.remove("oc/training:0.1.0")
    code, told, error = submit(*more)
    assert code == 2
    assert f"missing Image {registry.address}/oc/training:0.1.0" in told
    assert "not found: Image" in error
    assert (api.runs, api.experiments) == ([], [])


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_whose_image_holds_another_library_is_refused(
    submit: Submit, api: KfpApi, registry: RegistryApi, more: tuple[str, ...]
) -> None:
    labels = {LIBRARY_LABEL: "0.1.0+00000000", "org.opencontainers.image.revision": "4f1c"}
    registry.add("oc/training:0.1.0", labels)
    code, told, error = submit(*more)
    image = f"Image {registry.address}/oc/training:0.1.0"
    assert code == 2
    assert f"differs {image}: holds library 0.1.0+00000000, and this is {fingerprint()}" in told
    assert "make images PUSH=images.yaml" in told
    assert "the commit that the image was built from, 4f1c" in told
    assert f"{image}: holds library 0.1.0+00000000" in error
    assert "not found" not in error
    assert (api.runs, api.experiments) == ([], [])
    assert submit("--no-preflight", *more)[0] == 0


def test_an_image_pinned_by_its_digest_is_compared_too(submit: Submit, api: KfpApi, registry: RegistryApi) -> None:
    digest = "sha256:" + "a" * 64
    registry.add(f"oc/tools@{digest}", {LIBRARY_LABEL: "0.1.0+00000000"})
    code, told, _ = submit("--cluster-set", f"images.digests.tools={digest}")
    assert (code, f"differs Image {registry.address}/oc/tools@{digest}" in told, api.runs) == (2, True, [])


def test_an_image_that_does_not_say_its_library_stops_nothing(
    submit: Submit, api: KfpApi, registry: RegistryApi
) -> None:
    registry.add("oc/tools:0.1.0", None)
    code, told, _ = submit()
    assert (code, len(api.runs)) == (0, 1)
    assert f"unknown Image {registry.address}/oc/tools:0.1.0: is in the registry; which library it holds" in told
    assert f"it has no label {LIBRARY_LABEL}" in told


def test_images_that_nodes_never_pull_are_not_asked_for(submit: Submit, api: KfpApi, registry: RegistryApi) -> None:
    registry.images.clear()
    code, told, _ = submit("--cluster-set", "images.pull_policy=Never")
    assert (code, len(api.runs), "Image" in told) == (0, 1, False)


def test_no_preflight_sends_all_the_same(submit: Submit, api: KfpApi, registry: RegistryApi) -> None:
    registry.images.clear()
    assert submit("--no-preflight")[0] == 0
    assert len(api.runs) == 1


def test_a_secret_that_the_cluster_lacks_stops_the_run(submit: Submit, api: KfpApi, cluster: KubernetesApi) -> None:
    cluster.serve_group("argoproj.io/v1alpha1", "workflows")
    cluster.serve_group("kubeflow.org/v1beta1", "scheduledworkflows")
    code, told, error = submit()
    assert (code, api.runs) == (2, [])
    assert "kubectl create secret generic opencharacter-s3 --namespace kubeflow" in told
    assert "not found: Secret kubeflow/opencharacter-s3" in error
    value = base64.b64encode(b"value").decode()
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    cluster.objects["/api/v1/namespaces/kubeflow/secrets/opencharacter-s3"] = {"data": dict.fromkeys(keys, value)}
    assert submit()[0] == 0
    assert len(api.runs) == 1


def test_a_cluster_that_is_not_the_run_s_stops_nothing(submit: Submit, api: KfpApi, cluster: KubernetesApi) -> None:
    code, told, _ = submit()
    assert (code, len(api.runs)) == (0, 1)
    assert "unknown Cluster: the kubeconfig's cluster has no Kubeflow Pipelines" in told


@pytest.mark.parametrize("text", ["{", "[]", "clusters: 5"])
def test_an_odd_kubeconfig_stops_nothing(submit: Submit, api: KfpApi, tmp_path: Path, text: str) -> None:
    (tmp_path / "absent").write_text(text)
    assert submit()[0] == 0
    assert len(api.runs) == 1


def test_a_bucket_that_is_not_there_stops_the_run(
    submit: Submit, api: KfpApi, s3_root: str, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = ("--cluster-set", f"env.AWS_ENDPOINT_URL={s3_server.url}")
    code, _, error = submit(*endpoint, workspace="s3://absent/runs")
    assert (code, api.runs) == (2, [])
    assert "not found: Bucket s3://absent/runs" in error
    code, told, _ = submit(*endpoint, workspace=s3_root)
    assert (code, f"ok      Bucket {s3_root}" in told, len(api.runs)) == (0, True, 1)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    code, told, _ = submit(*endpoint, workspace=s3_root)
    assert (code, "refuses these credentials" in told) == (0, True), "the pods have keys of their own"
    code, told, _ = submit(workspace="s3://absent/runs")
    assert (code, f"the endpoint is AWS for the pods and {s3_server.url} for this process" in told) == (0, True)
    code, told, _ = submit(*endpoint, "--cluster-set", "env.AWS_DEFAULT_REGION=eu-1", workspace="s3://absent/runs")
    assert (code, "the region is eu-1 for the pods" in told) == (0, True)
