"""MLflow's deliveries: signed as mlflow/webhooks/delivery.py signs them."""

import json
from typing import Any

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from opencharacter.registry import AliasMove, Deliveries, UntrustedDelivery

NOW = 1_800_000_000
MOVE = {
    "entity": "model_version_alias",
    "action": "created",
    "data": {"name": "bard", "alias": "champion", "version": "3"},
}
SECRET = "geheim-é"


def signed(
    event: Any = MOVE, *, delivery: str = "one", time: int | str = NOW, secret: str = SECRET
) -> tuple[dict, bytes]:
    body = json.dumps(event)
    signature = _generate_hmac_signature(secret, delivery, str(time), body)
    headers = {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": str(time), "X-MLflow-Signature": signature}
    return headers, body.encode()


def test_a_signed_move_is_heard_once() -> None:
    deliveries = Deliveries(SECRET, lambda: NOW)
    assert deliveries.accept(*signed()) == AliasMove("bard", "champion")
    assert deliveries.accept(*signed()) is None, "MLflow repeats a delivery under its id where the answer was lost"
    assert deliveries.accept(*signed(delivery="two")) == AliasMove("bard", "champion")


@pytest.mark.parametrize(
    "event", [{"entity": "model_version_tag", "data": {}}, {"entity": "model_version_alias"}, [], 3]
)
def test_other_events_are_nothing(event: Any) -> None:
    assert Deliveries(SECRET, lambda: NOW).accept(*signed(event)) is None


@pytest.mark.parametrize("header", ["X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"])
def test_without_its_headers_it_is_refused(header: str) -> None:
    headers, body = signed()
    del headers[header]
    with pytest.raises(UntrustedDelivery, match=header):
        Deliveries(SECRET, lambda: NOW).accept(headers, body)


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret", "signature"])
def test_whatever_is_changed_breaks_the_signature(changed: str) -> None:
    headers, body = signed(secret="another" if changed == "secret" else SECRET)
    if changed == "body":
        body = body.replace(b"champion", b"challenger")
    if changed == "id":
        headers["X-MLflow-Delivery-Id"] = "two"
    if changed == "time":
        headers["X-MLflow-Timestamp"] = str(NOW + 1)
    if changed == "signature":
        headers["X-MLflow-Signature"] = "v1,é"
    with pytest.raises(UntrustedDelivery, match="signature is wrong"):
        Deliveries(SECRET, lambda: NOW).accept(headers, body)


@pytest.mark.parametrize("time", [NOW - 301, NOW + 301, "soon", "²", ""])
def test_an_old_delivery_is_refused_though_it_is_signed(time: int | str) -> None:
    with pytest.raises(UntrustedDelivery):
        Deliveries(SECRET, lambda: NOW).accept(*signed(time=time))


def test_a_delivery_cannot_be_replayed_as_long_as_its_time_is_good() -> None:
    now = NOW - 300
    deliveries = Deliveries(SECRET, lambda: now)
    assert deliveries.accept(*signed()) is not None
    now = NOW + 300
    assert deliveries.accept(*signed()) is None
    now = NOW + 301
    with pytest.raises(UntrustedDelivery):
        deliveries.accept(*signed())
