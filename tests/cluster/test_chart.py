"""The chart in a namespace of its own, as values-trial.yaml has it."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from support.acceptance.kube import CLAIMS, PODS, RUNTIMES, SECRETS
from support.acceptance.programs import Ended, port_forward
from support.acceptance.releases import CLAIM, chart_values, install, preflight_bucket, s3_secret
from support.acceptance.suite import Suite

pytestmark = pytest.mark.needs("cluster", "images", "store")

RELEASE = "trial"


@pytest.fixture(scope="module")
def place(suite: Suite) -> str:
    """The namespace."""
    name = suite.ledger.namespace(f"{suite.id}-trial", {"pod-security.kubernetes.io/enforce": "restricted"})
    suite.namespaces.append(name)
    suite.ledger.create(SECRETS.format(name), s3_secret(suite, "opencharacter-s3"))
    return name


@pytest.fixture(scope="module")
def installed(suite: Suite, place: str) -> Ended:
    """How the installation ended."""
    values = chart_values(suite, secret="opencharacter-s3")
    values["preflight"] = {"warnOnly": False, "bucket": preflight_bucket(suite)}
    return install(suite, RELEASE, place, values)


@pytest.fixture
def broken_runtime(suite: Suite, place: str, installed: Ended) -> Iterator[str]:
    """The runtime, speaking another protocol than the InferenceServices ask for."""
    path = f"{RUNTIMES.format(place)}/opencharacter"
    suite.kube.merge(path, {"spec": {"protocolVersions": ["v1"]}})
    yield path
    suite.kube.merge(path, {"spec": {"protocolVersions": ["v2"]}})


def test_install(suite: Suite, place: str, installed: Ended) -> None:
    """The chart installs where Pod Security restricted is enforced; its preflight hook runs before."""
    installed.expect()
    told = suite.helm("get", "hooks", RELEASE, "--namespace", place).expect().out
    assert "opencharacter-preflight" in told
    status = json.loads(suite.helm("status", RELEASE, "--namespace", place, "--output", "json").expect().out)
    hooks = [each for each in status.get("hooks") or [] if each["name"] == "opencharacter-preflight"]
    phases = {(each.get("last_run") or {}).get("phase") for each in hooks if each["kind"] == "Job"}
    assert phases <= {"Succeeded"}, phases


def test_helm_test(suite: Suite, place: str, installed: Ended) -> None:
    """helm test passes."""
    installed.expect()
    suite.helm("test", RELEASE, "--namespace", place, "--timeout", "3m").expect()


def test_mlflow(suite: Suite, place: str, installed: Ended) -> None:
    """MLflow answers."""
    installed.expect()
    with port_forward(place, "svc/opencharacter-mlflow:5000") as address:
        url = f"http://{address}/api/2.0/mlflow/experiments/search?max_results=1"
        told = suite.deadline.until("MLflow answers", lambda: _read(url), seconds=60)
    assert told
    assert told["experiments"][0]["name"] == "Default"


def test_other_protocol(suite: Suite, place: str, broken_runtime: str) -> None:
    """helm test fails where no runtime speaks the protocol that the servers are asked in."""
    done = suite.helm("test", RELEASE, "--namespace", place, "--timeout", "3m")
    assert done.code != 0, done.said
    # helm's own --logs gives up at the first pod of a test that has passed and is gone.
    pods = [pod for pod in suite.kube.find(PODS.format(place)) if (pod.get("status") or {}).get("phase") == "Failed"]
    logs = [suite.kube.log(place, pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]) for pod in pods]
    assert any("protocol" in log for log in logs), f"{done.said}\n{logs}"


def test_uninstall(suite: Suite, place: str, installed: Ended) -> None:
    """helm uninstall keeps MLflow's volume, and says so."""
    installed.expect()
    done = suite.helm("uninstall", RELEASE, "--namespace", place, "--wait").expect()
    assert CLAIM in done.said, done.said
    assert suite.kube.get(f"{CLAIMS.format(place)}/{CLAIM}"), "the volume claim is gone"


def _read(url: str) -> dict[str, list[dict[str, str]]] | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return dict(json.load(answer))
    except OSError:
        return None
