"""The chart as values-production.yaml has it: PostgreSQL, two MLflow servers, queues."""

import secrets

import pytest
from support.acceptance import objects
from support.acceptance.capabilities import has_kueue, has_monitors
from support.acceptance.kube import DEPLOYMENTS, LOCAL_QUEUES, PODS, SECRETS, SERVICES, is_true
from support.acceptance.programs import Ended
from support.acceptance.releases import install, production_values, s3_secret, upgrade
from support.acceptance.suite import Suite

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
def installed(suite: Suite, place: str) -> Ended:
    """How the installation ended."""
    values = production_values(suite, queues=has_kueue(suite.kube), monitors=has_monitors(suite.kube))
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
    """helm upgrade brings the database's schema up to date and leaves both servers at work."""
    installed.expect()
    upgrade(suite, RELEASE, place, {"mlflow": {"workers": 2}}).expect()
    suite.until_available(place, "opencharacter-mlflow")


def test_queue(suite: Suite, place: str, installed: Ended) -> None:
    """The chart's queue is there, beside those of another release."""
    if not has_kueue(suite.kube):
        pytest.skip("no Kueue: the cluster serves no localqueues")
    installed.expect()
    suite.deadline.until(
        "the LocalQueue is active",
        lambda: is_true(suite.kube.get(f"{LOCAL_QUEUES.format(place)}/opencharacter"), "Active"),
        seconds=60,
    )
