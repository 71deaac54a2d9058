"""The acceptance suite's own parts, against stand-ins."""

from collections.abc import Iterator

import pytest
from support.acceptance.kube import Kube
from support.object_api import ObjectApi, object_api


@pytest.fixture
def api() -> Iterator[ObjectApi]:
    with object_api() as running:
        yield running


@pytest.fixture
def kube(api: ObjectApi) -> Iterator[Kube]:
    from kubernetes import client

    with client.ApiClient(client.Configuration(host=api.url)) as connection:
        yield Kube(connection, pause=lambda seconds: None)
