"""Schemas, Pod Security `restricted` and checkov, over everything that the chart and the manifests hold."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import pod_security
from support.crds import crd_faults
from support.helm import VALUES_FILES, Manifest, objects, one, template

BUILT_IN = ("v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
KUBERNETES = "1.34"

EXCEPTIONS = {
    "CKV_K8S_43": "images are pinned by tag, or by digest where images.digests says so",
    "CKV_K8S_11": "no CPU limits: they throttle; requests share the node fairly",
    "CKV_K8S_15": "IfNotPresent is right for tags that never move, and needed on air-gapped nodes",
    "CKV_K8S_38": "the check pods ask the cluster's API; all other pods mount no token",
    "CKV_K8S_35": "boto3, MLflow and SQLAlchemy read credentials from the environment",
    "CKV_K8S_8": "jobs and test pods have no probes; every server has",
    "CKV_K8S_9": "jobs and test pods have no probes; every server has",
}


@pytest.mark.parametrize("values", VALUES_FILES)
def test_built_in_objects_fit_the_clusters_schema(values: str, tmp_path: Path) -> None:
    built_in = [each for each in objects(values) if each["apiVersion"] in BUILT_IN]
    assert len(built_in) > 10
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(built_in))
    command = ["kubernetes-validate", "--strict", "--kubernetes-version", KUBERNETES, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_check_sees_a_wrong_port(tmp_path: Path) -> None:
    service = one("Service", "opencharacter-mlflow") | {"spec": {"ports": [{"port": "x"}]}}
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump(service))
    command = ["kubernetes-validate", "--strict", "--kubernetes-version", KUBERNETES, str(path)]
    assert subprocess.run(command, capture_output=True).returncode != 0


CUSTOM = sorted(
    {(each["apiVersion"], each["kind"]) for each in objects("values-production.yaml")}
    - {
        (each["apiVersion"], each["kind"])
        for each in objects("values-production.yaml")
        if each["apiVersion"] in BUILT_IN
    }
)


@pytest.mark.parametrize(("api_version", "kind"), CUSTOM)
def test_custom_resources_fit_their_definitions(api_version: str, kind: str) -> None:
    found = [
        each
        for values in VALUES_FILES
        for each in objects(values)
        if (each["apiVersion"], each["kind"]) == (api_version, kind)
    ]
    assert found
    for each in found:
        try:
            assert crd_faults(each) == []
        except LookupError as error:
            pytest.skip(str(error))


def as_admitted(runtime: Manifest) -> Manifest:
    """The pod that KServe makes of the runtime: its containers and volumes, no more of the pod's own context."""
    return {key: runtime["spec"][key] for key in ("containers", "volumes")}


@pytest.mark.parametrize("values", VALUES_FILES)
def test_every_pod_is_restricted_and_has_a_read_only_root(values: str) -> None:
    seen = 0
    for each in objects(values):
        pods = [as_admitted(each)] if each["kind"] == "ServingRuntime" else list(pod_security.pod_templates(each))
        for pod in pods:
            assert pod_security.violations(pod) == [], each["metadata"]["name"]
            seen += 1
    assert seen == 5, "MLflow, the runtime, the check and two test pods"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"securityContext": {}}, "may run as root"),
    ],
)
def test_the_restricted_check_sees_pod_faults(change: dict[str, Any], told: str) -> None:
    pod = one("Deployment", "opencharacter-mlflow")["spec"]["template"]["spec"]
    assert told in "; ".join(pod_security.violations(pod | change))


@pytest.mark.parametrize(
    "change",
    [
        {"privileged": True},
        {"allowPrivilegeEscalation": True},
        {"runAsNonRoot": False},
        {"runAsUser": 0},
        {"capabilities": {"drop": ["NET_RAW"]}},
        {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}},
        {"seccompProfile": {"type": "Unconfined"}},
        {"readOnlyRootFilesystem": False},
        {"procMount": "Unmasked"},
    ],
)
def test_the_restricted_check_sees_container_faults(change: dict[str, Any]) -> None:
    pod = one("Deployment", "opencharacter-mlflow")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    changed = container | {"securityContext": container["securityContext"] | change}
    assert pod_security.violations(pod | {"containers": [changed]})


def test_checkov_finds_nothing_but_the_listed_exceptions(tmp_path: Path) -> None:
    for values in VALUES_FILES:
        (tmp_path / values).write_text(template(values))
    command = ["checkov", "--directory", str(tmp_path), "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run([*command, "--output", "json", "--quiet", "--compact"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    failed = {(each["check_id"], each["check_name"], each["resource"]) for each in report["results"]["failed_checks"]}
    unexpected = sorted(each for each in failed if each[0] not in EXCEPTIONS)
    assert unexpected == []
    assert {each[0] for each in failed} == set(EXCEPTIONS), "an exception that nothing needs any more"
    assert report["summary"]["passed"] > 100
