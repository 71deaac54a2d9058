"""`opencharacter cluster preflight` against a stand-in of the Kubernetes API and a real S3 server."""

import base64
from pathlib import Path

import pytest
from support import stand_in
from support.kserve_cluster import RUNTIME
from support.kubernetes_api import KubernetesApi
from support.registry_api import RegistryApi

from opencharacter.cli import main
from opencharacter.library import LIBRARY_LABEL, fingerprint

PLATFORM = ("--need", "kserve", "--need", "pipelines", "--need", "trainer", "--need", "kueue")


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["cluster", "preflight", *arguments])
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


def install_platform(cluster: KubernetesApi) -> None:
    cluster.serve_group("serving.kserve.io/v1beta1", "inferenceservices")
    cluster.serve_group("serving.kserve.io/v1alpha1", "servingruntimes")
    cluster.serve_group("argoproj.io/v1alpha1", "workflows")
    cluster.serve_group("kubeflow.org/v1beta1", "scheduledworkflows")
    cluster.serve_group("trainer.kubeflow.org/v1alpha1", "trainjobs")
    cluster.serve_group("jobset.x-k8s.io/v1alpha2", "jobsets")
    cluster.serve_group("kueue.x-k8s.io/v1beta2", "localqueues")


def add_node(cluster: KubernetesApi, gpus: int) -> None:
    sizes = {"plain": {"cpu": "8"}, "gpus": {"cpu": "8", "nvidia.com/gpu": str(gpus)}}
    nodes = [{"metadata": {"name": name}, "status": {"allocatable": size}} for name, size in sizes.items()]
    cluster.objects["/api/v1/nodes"] = {"kind": "NodeList", "items": nodes}


def test_a_cluster_that_has_everything(cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    install_platform(cluster)
    add_node(cluster, 4)
    key = base64.b64encode(b"value").decode()
    cluster.objects["/api/v1/namespaces/play/secrets/s3"] = {"kind": "Secret", "data": {"ID": key, "KEY": key}}
    code, out, _ = run(*PLATFORM, "--gpus", "4", "--namespace", "play", "--secret", "s3:ID,KEY", capsys=capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 7
    assert "value" not in out


def test_a_cluster_says_what_to_look_for(
    cluster: KubernetesApi, registry: RegistryApi, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.add("oc/tools:0.1.0", {LIBRARY_LABEL: fingerprint()})
    registry.add("oc/synthesis:0.1.0", {LIBRARY_LABEL: "0.1.0+00000000"})
    cluster.serve_group("argoproj.io/v1alpha1", "workflows")
    cluster.serve_group("kubeflow.org/v1beta1", "scheduledworkflows")
    add_node(cluster, 4)
    key = base64.b64encode(b"value").decode()
    secret = {"kind": "Secret", "data": {"AWS_ACCESS_KEY_ID": key}}
    cluster.objects["/api/v1/namespaces/play/secrets/opencharacter-s3"] = secret
    images = ("--cluster-set", f"images.registry={registry.address}/oc")
    code, out, _ = run("--cluster", "pool", "--cluster-set", "namespace=play", *images, capsys=capsys)
    assert code == 2
    told = {line[8:].split(": ")[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert told["Kubeflow Pipelines"].startswith("ok")
    classes = [f"WorkloadPriorityClass opencharacter-{work}-play" for work in ("synthesis", "training")]
    queue = "LocalQueue play/opencharacter"
    for subject in ("Kubeflow Trainer", "Kueue", queue, *classes, "Secret play/opencharacter-s3"):
        assert told[subject].startswith("missing")
    assert "AWS_SECRET_ACCESS_KEY" in told["Secret play/opencharacter-s3"]
    assert told[f"Image {registry.address}/oc/tools:0.1.0"].startswith("ok")
    assert told[f"Image {registry.address}/oc/training:0.1.0"].startswith("missing")
    assert told[f"Image {registry.address}/oc/synthesis:0.1.0"].startswith("differs")
    assert "Secret play/opencharacter-hub" not in told, "it may be absent"


def test_images_of_the_chart_can_be_asked_for(
    cluster: KubernetesApi, registry: RegistryApi, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.add("oc/serving:0.1.0", {LIBRARY_LABEL: "0.1.0+00000000"})  # the service may be older than the command
    there, absent = (f"{registry.address}/oc/{name}:0.1.0" for name in ("serving", "tools"))
    assert run("--image", there, capsys=capsys)[0] == 0
    code, out, err = run("--image", there, "--image", absent, capsys=capsys)
    assert (code, f"missing Image {absent}" in out, f"not found: Image {absent}" in err) == (2, True, True)


def test_a_cluster_out_of_reach_is_not_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.use_kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch)
    code, out, err = run("--need", "kserve", capsys=capsys)
    assert (code, out, "the cluster cannot be reached" in err) == (1, "", True)


def test_each_lack_is_named_with_what_to_do(cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    install_platform(cluster)
    cluster.serve_group("serving.kserve.io/v1alpha1", "clusterservingruntimes")
    del cluster.objects["/apis/trainer.kubeflow.org/v1alpha1"]
    add_node(cluster, 1)
    cluster.objects["/api/v1/namespaces/play/secrets/half"] = {"kind": "Secret", "data": {"ID": "aWQ=", "KEY": ""}}
    code, out, err = run(
        *PLATFORM, "--gpus", "2", "-n", "play", "--secret", "half:ID,KEY", "--secret", "gone:TOKEN", capsys=capsys
    )
    assert code == 2
    assert "KServe: the cluster does not serve servingruntimes (serving.kserve.io/v1alpha1)" in out
    assert "Kubeflow Trainer: the cluster does not serve trainjobs (trainer.kubeflow.org/v1alpha1)" in out
    assert "2 of nvidia.com/gpu find no room on any node: plain has 0 of nvidia.com/gpu; gpus has 1 of" in out
    assert "Secret play/half: does not hold KEY" in out
    assert "kubectl create secret generic gone --namespace play --from-literal=TOKEN=…" in out
    assert "not found: KServe, Kubeflow Trainer, Nodes for one pod, Secret play/half, Secret play/gone" in err
    code, _, _ = run(*PLATFORM, "--warn-only", capsys=capsys)
    assert code == 0


@pytest.mark.parametrize(("field", "state"), [("runtimePatches", "ok"), ("podTemplateOverrides", "differs")])
def test_a_trainer_that_would_drop_what_jobs_hold_is_refused(
    cluster: KubernetesApi, capsys: pytest.CaptureFixture[str], field: str, state: str
) -> None:
    install_platform(cluster)
    spec = {"type": "object", "properties": {"runtimeRef": {"type": "object"}, field: {"type": "array"}}}
    job = {"type": "object", "properties": {"spec": spec}}
    cluster.objects["/openapi/v3/apis/trainer.kubeflow.org/v1alpha1"] = {
        "components": {"schemas": {"org.kubeflow.trainer.v1alpha1.TrainJob": job, "io.k8s.api.core.v1.Pod": {}}}
    }
    code, out, err = run("--need", "trainer", capsys=capsys)
    assert f"{state:8}Kubeflow Trainer: " in out
    assert (code, "too old: 2.2 or later is needed" in err) == ((0, False) if state == "ok" else (2, True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"supportedModelFormats": [{"name": "sklearn", "autoSelect": True}]}, "serves sklearn only"),
        ({"supportedModelFormats": [{"name": "opencharacter", "version": "1"}]}, "not by itself (autoSelect)"),
        ({"protocolVersions": ["v1"]}, "speaks protocol v1, not v2"),
        ({"disabled": True}, "is disabled"),
        ({}, "ok"),
    ],
)
def test_kserve_must_select_the_runtime_for_what_deploy_writes(
    cluster: KubernetesApi, change: dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/apis/serving.kserve.io/v1alpha1/namespaces/play/servingruntimes/opencharacter"
    arguments = ("--namespace", "play", "--runtime", "opencharacter")
    assert "there is no such runtime" in run(*arguments, capsys=capsys)[1]
    cluster.objects[path] = RUNTIME | {"spec": RUNTIME["spec"] | change}
    code, out, _ = run(*arguments, capsys=capsys)
    assert (code, told in out) == (0 if told == "ok" else 2, True)


def test_what_it_may_not_see_is_no_fault(cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.denied.add("/api/v1/nodes")
    code, out, _ = run("--gpus", "1", capsys=capsys)
    assert code == 0
    assert "unknown Nodes" in out
    assert "may not look (403 Forbidden)" in out


def test_the_bucket_must_take_a_write(
    cluster: KubernetesApi,
    s3_root: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--bucket", s3_root, capsys=capsys)[0] == 0
    code, out, _ = run("--bucket", "s3://absent/a", capsys=capsys)
    assert (code, "no such bucket" in out) == (2, True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, out, _ = run("--bucket", s3_root, capsys=capsys)
    assert (code, "refuses these credentials" in out) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gpus", "3"), "--gpus"),
        (("--cpu", "two"), "--cpu"),
        (("--memory", "8GB"), "--memory"),
        (("--need", "spark"), "--need"),
        (("--bucket", "runs"), "--bucket"),
        (("--secret", "Not A Name"), "--secret"),
    ],
)
def test_wrong_use_names_the_option(arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert told in err


def test_without_a_cluster_the_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    code, _, err = run("--need", "kserve", capsys=capsys)
    assert (code, "no cluster" in err) == (2, True)
