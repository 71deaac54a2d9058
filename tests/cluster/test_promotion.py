"""Another version takes over the address of the one before, and the way back."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.acceptance.kube import SERVICES, Object
from support.acceptance.releases import Release, promoter_values, upgrade
from support.acceptance.serving import Service
from support.acceptance.store import copy_below
from support.acceptance.suite import Suite
from support.acceptance.training import Training

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")


@pytest.fixture(scope="module")
def second(suite: Suite, release: Release, service: Service) -> str:
    """A second version in the registry: the first one's weights, at another address."""
    from opencharacter.registry import resolve
    from opencharacter.registry.client import mlflow_client
    from opencharacter.registry.registered_model import URI_TAG

    service.until_ready()
    first = resolve(f"models:/{suite.id}@champion")
    target = f"{suite.prefix}/second"
    copy_below(first.uri, target, suite.local_s3)
    with mlflow_client() as client:
        tags = first.tags | {URI_TAG: target}
        version = client.create_model_version(suite.id, source=target, tags=tags)
    return str(version.version)


@pytest.fixture(scope="module", autouse=True)
def _meanwhile(queued_doomed: Training | None) -> None:
    """What takes long and needs little starts now."""


@pytest.fixture(scope="module")
def follow(suite: Suite, release: Release, service: Service) -> Iterator[Callable[[str], Object]]:
    """Waits until the promoter has brought a version into service; it runs in the cluster if the release is ours."""
    file = suite.write("promoter.yaml", {"models": [{"model": suite.id, "deploy": service.section()}]})

    def once(version: str) -> Object:
        service.run("promoter", "--config", str(file), "--once", seconds=600).expect()
        return service.until_version(version)

    if not release.ours:
        yield once
        return
    upgrade(suite, release.name, release.namespace, promoter_values(suite.id, service.section())).expect()
    suite.until_available(release.namespace, "opencharacter-promoter")
    yield service.until_version
    # Or it would bring back the server that the next tests have deleted.
    upgrade(suite, release.name, release.namespace, {"promoter": {"enabled": False}}).expect()


def test_alias_moves_the_service(
    suite: Suite, service: Service, second: str, character: Path, follow: Callable[[str], Object]
) -> None:
    """The alias moves in MLflow, and the promoter the service: dark, asked, without a restart, at the same address."""
    before = _address(suite)
    service.promote(second)
    found = follow(second)
    assert not found["spec"].get("canary"), "the canary's entry is still there"
    after = _address(suite)
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "another Service has the address"
    assert after["spec"]["selector"] != before["spec"]["selector"], "the address leads to the old pods"
    assert service.ask(character), "an empty answer"


def test_rollback(service: Service, second: str, character: Path, follow: Callable[[str], Object]) -> None:
    """The alias moves back, and with it the service."""
    service.promote("1")
    follow("1")
    assert service.ask(character), "an empty answer"


def _address(suite: Suite) -> Object:
    found = suite.kube.get(f"{SERVICES.format(suite.namespace)}/{suite.id}")
    assert found, f"there is no Service {suite.id}: {json.dumps(found)}"
    return found
