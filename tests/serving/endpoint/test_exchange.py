"""A fault of our own, which no request should find."""

import json
from typing import Any, cast

import pytest

from opencharacter.serving.endpoint.access import make_access
from opencharacter.serving.endpoint.exchange import Exchange, Peers
from opencharacter.serving.endpoint.observe import make_observer
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Upstream


async def test_a_fault_of_the_server_is_told_in_openais_form_and_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, sent = EndpointSettings(), []

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret internals")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    peers = Peers(cast(Upstream, None), make_access(settings), settings)
    exchange = Exchange(peers, {}, "req-1", [(b"x-request-id", b"req-1")], send)
    observer = make_observer(settings)
    await exchange.run(broken, "", receive, observer.begin("/v1/chat/completions", "req-1", {}))
    await observer.close()

    assert sent[0]["status"] == 500
    assert (b"x-request-id", b"req-1") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["error"]["code"] == "internal_error"
    assert "secret" not in str(sent)
    assert "secret internals" in caplog.text
    assert json.loads(capsys.readouterr().out)["reason"] == "internal_error"
