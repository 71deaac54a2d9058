"""MLflow's webhooks: registering one for moves of aliases, and checking what is delivered (mlflow/webhooks).

MLflow signs `DELIVERY_ID.TIMESTAMP.BODY` with HMAC-SHA256 and sends `v1,BASE64`. A repeated delivery has the id, time
and signature of the first one.
"""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.registry.client import mlflow_client

TOLERANCE_S = 300
"""How old a delivery may be. MLflow gives up after 3 repetitions, in about a minute and a half."""

_DELIVERY, _TIMESTAMP, _SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
_ENTITY = "model_version_alias"
_PAGE = 100


def register_webhook(name: str, url: str, secret: str) -> bool:
    """Let the server call `url` when an alias is moved or removed. Says whether it is a new webhook.

    A webhook of that name is updated, the secret too, which cannot be read back. Raises `OpenCharacterError` where the
    server fails or refuses: it takes `http://` and cluster-internal addresses only if its settings allow them.
    """
    from mlflow.entities.webhook import WebhookEvent

    alias_events: list[Any] = [WebhookEvent(_ENTITY, action) for action in ("created", "deleted")]
    with mlflow_client() as client:
        token: str | None = None
        while True:
            page = client.list_webhooks(max_results=_PAGE, page_token=token)
            found = next((webhook for webhook in page if webhook.name == name), None)
            token = page.token
            if found is not None or not token:
                break
        if found is None:
            client.create_webhook(name, url, alias_events, secret=secret)
            return True
        events = None if set(found.events) == set(alias_events) else alias_events
        client.update_webhook(found.webhook_id, url=url, events=events, secret=secret, status="ACTIVE")
        return False


@dataclass(frozen=True)
class AliasMove:
    """An alias of a registered model was set or removed."""

    model: str
    alias: str


class UntrustedDelivery(OpenCharacterError):
    """A request that does not come from the server, or not now."""


class Deliveries:
    """Checks deliveries, and remembers those of the last minutes. Methods may be called from any thread."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._secret = secret.encode()
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def accept(self, headers: Mapping[str, str] | Message, body: bytes) -> AliasMove | None:
        """What was moved; None for a delivery that was accepted before, or is about something else.

        Raises `UntrustedDelivery` if a header is absent, the signature is wrong, or the time is off by more than
        `TOLERANCE_S`.
        """
        delivery, timestamp, signature = (headers.get(name) or "" for name in (_DELIVERY, _TIMESTAMP, _SIGNATURE))
        if not (delivery and timestamp and signature):
            raise UntrustedDelivery(f"expected the headers {_DELIVERY}, {_TIMESTAMP} and {_SIGNATURE}")
        signed = f"{delivery}.{timestamp}.".encode() + body
        expected = b"v1," + base64.b64encode(hmac.new(self._secret, signed, hashlib.sha256).digest())
        if not hmac.compare_digest(expected, signature.encode()):
            raise UntrustedDelivery(
                "the signature is wrong; do MLflow's webhook and this process have the same secret?"
            )
        now = self._clock()
        if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > TOLERANCE_S:
            raise UntrustedDelivery(f"the delivery is of {timestamp}, more than {TOLERANCE_S} s from {now:.0f}")
        with self._lock:
            self._seen = {known: time for known, time in self._seen.items() if now - time <= 2 * TOLERANCE_S}
            if delivery in self._seen:
                return None
            self._seen[delivery] = now
        return _moved(body)


def _moved(body: bytes) -> AliasMove | None:
    try:
        event: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("entity") != _ENTITY or not isinstance(event.get("data"), dict):
        return None
    data = event["data"]
    return AliasMove(str(data.get("name")), str(data.get("alias")))
