"""The chart's NetworkPolicies, where a network plugin enforces them."""

import itertools

import pytest
from support.acceptance import objects
from support.acceptance.kube import DEPLOYMENTS, PODS, POLICIES, SERVICES
from support.acceptance.releases import Release
from support.acceptance.suite import Suite

pytestmark = pytest.mark.needs("cluster", "images", "store")

_NUMBERS = itertools.count(1)


def reaches(suite: Suite, namespace: str, host: str, port: int) -> bool:
    """Whether a pod of a namespace can connect."""
    name = f"{suite.id}-probe-{next(_NUMBERS)}"
    place = PODS.format(namespace)
    suite.ledger.create(place, objects.probe(name, host, port, suite.image("tools"), suite.settings.pull_policy))

    def phase() -> str:
        return str(((suite.kube.get(f"{place}/{name}") or {}).get("status") or {}).get("phase"))

    suite.deadline.until(
        f"a pod of {namespace} has tried to connect to {host}:{port}",
        lambda: phase() in ("Succeeded", "Failed"),
        seconds=120,
        state=phase,
    )
    return phase() == "Succeeded"


@pytest.fixture(scope="module")
def stranger(suite: Suite) -> str:
    """A namespace that the chart does not know; skips where a policy that lets nothing in is not enforced."""
    name = suite.ledger.namespace(f"{suite.id}-net")
    suite.namespaces.append(name)
    image, policy = suite.image("tools"), suite.settings.pull_policy
    parts = objects.proxy("listener", "http://127.0.0.1:1", image, policy)
    for path, part in zip((DEPLOYMENTS, SERVICES), parts, strict=True):
        suite.ledger.create(path.format(name), part)
    suite.until_available(name, "listener", seconds=120)
    listener = (f"listener.{name}", objects.STORE_PORT)
    assert reaches(suite, name, *listener), "no pod reaches another one, even without a policy"
    suite.ledger.create(POLICIES.format(name), objects.no_way_in("no-way-in"))
    if reaches(suite, name, *listener):
        pytest.skip("no network plugin enforces NetworkPolicies: a pod was reached that lets nothing in")
    return name


def test_mlflow_is_closed(suite: Suite, release: Release, stranger: str) -> None:
    """Pods of other namespaces do not reach MLflow, those of the runs' namespace do."""
    if not release.ours:
        pytest.skip("the release was there before, with policies of its own")
    mlflow = (f"opencharacter-mlflow.{release.namespace}", 5000)
    assert reaches(suite, release.namespace, *mlflow), "the runs' own pods do not reach MLflow"
    assert not reaches(suite, stranger, *mlflow), "a pod of another namespace reaches MLflow"
