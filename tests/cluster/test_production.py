"""The chart as values-production.yaml has it: PostgreSQL, two MLflow servers, queues."""

import secrets
from typing import Any

import pytest
from support.acceptance import objects
from support.acceptance.capabilities import has_kueue
from support.acceptance.kube import DEPLOYMENTS, LOCAL_QUEUES, PODS, SECRETS, SERVICES, is_true
from support.acceptance.programs import Ended
from support.acceptance.releases import chart_values, install, preflight_bucket, s3_secret
from support.acceptance.suite import CHART, Suite

pytestmark = pytest.mark.needs("cluster", "images", "store")

RELEASE = "production"
_SELECTOR = "app.kubernetes.io/part-of=opencharacter,app.kubernetes.io/component=mlflow"


@pytest.fixture(scope="module")
def place(suite: Suite) -> str:
    """A namespace with an empty PostgreSQL."""
    image = suite.settings.postgres_image
    if image is None:
        pytest.skip("not set: OPENCHARACTER_CLUSTER_POSTGRES_IMAGE, an image of PostgreSQL that the nodes can pull")
    name = suite.ledger.namespace(f"{suite.id}-prod")
    suite.namespaces.append(name)
    password = secrets.token_hex(12)
    for path, part in zip((DEPLOYMENTS, SERVICES), objects.database("postgres", image, password), strict=True):
        suite.ledger.create(path.format(name), part)
    address = f"postgresql+psycopg://mlflow:{password}@postgres.{name}:5432/mlflow"
    suite.ledger.create(
        SECRETS.format(name),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "opencharacter-mlflow-database"},
            "stringData": {"uri": address},
        },
    )
    suite.ledger.create(SECRETS.format(name), s3_secret(suite, "opencharacter-s3"))
    suite.until_available(name, "postgres", seconds=180)
    return name


@pytest.fixture(scope="module")
def values(suite: Suite, place: str) -> dict[str, Any]:
    """What a cluster without GPUs, and perhaps with another release, needs over values-production.yaml."""
    found = chart_values(suite, secret="opencharacter-s3")
    found["mlflow"] = {
        "resources": {"cpu": "100m", "memory": "1536Mi"},
        "workers": 1,
        "artifacts": {"root": f"{suite.prefix}/mlflow"},
    }
    found["monitoring"] = {
        "serviceMonitor": {"enabled": suite.kube.serves("monitoring.coreos.com/v1", "servicemonitors")}
    }
    parts = ["kserve", "pipelines"]
    parts += ["kueue"] if has_kueue(suite.kube) else []
    found["preflight"] = {"gpus": 0, "needs": parts, "bucket": preflight_bucket(suite)}
    found["kueue"] = {"enabled": False}
    if has_kueue(suite.kube):
        name = f"{suite.id}-prod"
        found["kueue"] = {
            "enabled": True,
            "clusterQueue": name,
            "localQueue": name,
            "flavor": {"name": name, "tolerations": []},
            "priorities": [{"name": name, "value": 100}],
        }
    return found


@pytest.fixture(scope="module")
def installed(suite: Suite, place: str, values: dict[str, Any]) -> Ended:
    """How the installation ended."""
    return install(suite, RELEASE, place, values, base="values-production.yaml")


def restarts(suite: Suite, place: str) -> dict[str, int]:
    """By pod of MLflow's Deployment: how often its server was started again."""
    return {
        pod["metadata"]["name"]: int(status.get("restartCount", 0))
        for pod in suite.kube.find(PODS.format(place), labels=_SELECTOR)
        for status in (pod.get("status") or {}).get("containerStatuses") or []
        if status["name"] == "mlflow"
    }


def test_two_servers_on_an_empty_database(suite: Suite, place: str, installed: Ended) -> None:
    """Two MLflow servers start on an empty PostgreSQL, and neither crashes over its migration."""
    installed.expect()
    deployment = suite.until_available(place, "opencharacter-mlflow", seconds=240)
    assert deployment["spec"]["replicas"] == 2
    counts = restarts(suite, place)
    assert len(counts) == 2, counts
    assert set(counts.values()) == {0}, counts


def test_upgrade(suite: Suite, place: str, installed: Ended) -> None:
    """helm upgrade, with the database's schema in its hook, leaves both servers at work."""
    installed.expect()
    words = ("upgrade", RELEASE, str(CHART), "--namespace", place, "--reuse-values", "--wait", "--timeout", "5m")
    suite.helm(*words, seconds=360).expect()
    suite.until_available(place, "opencharacter-mlflow")


def test_queue(suite: Suite, place: str, installed: Ended) -> None:
    """The chart's queue is there, beside those of another release."""
    if not has_kueue(suite.kube):
        pytest.skip("no Kueue: the cluster serves no localqueues")
    installed.expect()
    name = f"{suite.id}-prod"
    suite.deadline.until(
        "the LocalQueue is active",
        lambda: is_true(suite.kube.get(f"{LOCAL_QUEUES.format(place)}/{name}"), "Active"),
        seconds=60,
    )
