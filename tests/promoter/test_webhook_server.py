"""MLflow's webhooks, from a real server to the promoter's receiver."""

import json
import queue
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from opencharacter.promoter.metrics import Metrics
from opencharacter.promoter.receiver import WEBHOOK_PATH, receiving
from opencharacter.registry import AliasMove, Deliveries, register_webhook

SECRET = "only MLflow and we know it"


class Receiver:
    def __init__(self, port: int, metrics: Metrics, moves: "queue.Queue[AliasMove]") -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.metrics, self.moves = metrics, moves
        self.healthy = True

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(self.address + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    metrics, moves = Metrics(), queue.Queue()
    made: list[Receiver] = []
    with receiving(
        "127.0.0.1",
        0,
        metrics=metrics,
        healthy=lambda: made[0].healthy,
        deliveries=Deliveries(SECRET, time.time),
        on_move=moves.put,
    ) as port:
        made.append(Receiver(port, metrics, moves))
        yield made[0]


@pytest.fixture
def client(mlflow_uri: str, request: pytest.FixtureRequest) -> Iterator[MlflowClient]:
    """The registry with a model of two versions; webhooks are removed at the end."""
    client = MlflowClient(mlflow_uri)
    client.create_registered_model(request.node.name)
    for _ in range(2):
        client.create_model_version(request.node.name, "s3://bucket/model")
    yield client
    for webhook in client.list_webhooks():
        client.delete_webhook(webhook.webhook_id)


def test_a_move_in_mlflow_arrives_signed(client, receiver, request) -> None:
    model = request.node.name
    assert register_webhook("promoter", receiver.address + WEBHOOK_PATH, SECRET) is True
    client.set_registered_model_alias(model, "champion", "1")
    assert receiver.moves.get(timeout=20) == AliasMove(model, "champion")
    client.set_registered_model_alias(model, "champion", "2")
    assert receiver.moves.get(timeout=20) == AliasMove(model, "champion")
    client.delete_registered_model_alias(model, "champion")
    assert receiver.moves.get(timeout=20) == AliasMove(model, "champion")
    assert 'opencharacter_promoter_webhook_deliveries_total{outcome="accepted"} 3.0' in receiver.ask("/metrics")[1]


def test_registering_again_keeps_one_webhook_and_updates_it(client, receiver, request) -> None:
    assert register_webhook("promoter", "http://127.0.0.1:9/old", "old secret") is True
    (found,) = client.list_webhooks()
    client.update_webhook(found.webhook_id, events=["model_version.created"], status="DISABLED")
    for _ in range(2):
        assert register_webhook("promoter", receiver.address + WEBHOOK_PATH, SECRET) is False
    (found,) = client.list_webhooks()
    assert {str(event) for event in found.events} == {"model_version_alias.created", "model_version_alias.deleted"}
    client.set_registered_model_alias(request.node.name, "champion", "1")
    assert receiver.moves.get(timeout=20).alias == "champion", "the new secret, address, events and state hold"


def test_mlflows_own_test_of_a_webhook_succeeds(client, receiver) -> None:
    register_webhook("promoter", receiver.address + WEBHOOK_PATH, SECRET)
    (found,) = client.list_webhooks()
    assert client.test_webhook(found.webhook_id, "model_version_alias.created").response_status == 204
    assert receiver.moves.get(timeout=20) == AliasMove("example_model", "example_alias")


def test_another_secret_is_refused(client, receiver) -> None:
    register_webhook("promoter", receiver.address + WEBHOOK_PATH, "another")
    (found,) = client.list_webhooks()
    result = client.test_webhook(found.webhook_id)
    assert (result.success, result.response_status) == (False, 401)
    assert "same secret" in result.response_body
    assert receiver.moves.empty()
    assert 'opencharacter_promoter_webhook_deliveries_total{outcome="refused"} 1.0' in receiver.ask("/metrics")[1]


def test_only_the_pages_that_are_there_answer(receiver) -> None:
    assert receiver.ask("/healthz") == (200, "ok\n")
    receiver.healthy = False
    assert receiver.ask("/healthz")[0] == 503
    assert receiver.ask("/")[0] == 404
    assert receiver.ask("/metrics", b"{}")[0] == 404
    assert receiver.ask(WEBHOOK_PATH, json.dumps({}).encode())[0] == 401
    assert receiver.ask(WEBHOOK_PATH, b"x" * 100_000)[0] == 413
