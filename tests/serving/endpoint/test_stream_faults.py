"""The transformer before a model server that breaks, stalls, goes away and comes back."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving.endpoint.scripted_predictor import ScriptedPredictor

from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

IDLE_S = 2
REQUEST_S = 3
LEAVES_S = 1.5
"""Below both: a call that ends by then was cancelled."""


@pytest.fixture(scope="module")
def front(predictor: ScriptedPredictor, model_dir: Path) -> Iterator[Server]:
    with run_transformer(
        f"127.0.0.1:{predictor.port}",
        "m",
        model_dir=model_dir,
        settings=EndpointSettings(stream_idle_timeout_s=IDLE_S, request_timeout_s=REQUEST_S),
    ) as server:
        yield server


@pytest.fixture
def client(front: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, script: str, *, stream: bool = False) -> Any:
    return client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": script}],
        stream=stream,
        extra_body={"character": {"name": "A"}},
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [("break", "broke"), ("end early", "ended its answer early"), ("stall", f"nothing for {IDLE_S} s")],
)
def test_a_stream_that_breaks_ends_with_an_error_after_the_whole_events(
    client: openai.OpenAI, script: str, told: str
) -> None:
    stream = iter(ask(client, script, stream=True))
    assert next(stream).choices[0].delta.content == "one"
    with pytest.raises(openai.APIError, match=told) as caught:
        next(stream)
    assert caught.value.code == "stream_interrupted"


def test_events_pass_as_they_come(client: openai.OpenAI, predictor: ScriptedPredictor) -> None:
    predictor.release.clear()
    stream = iter(ask(client, "wait", stream=True))
    assert next(stream).choices[0].delta.content == "one"
    predictor.release.set()
    assert next(stream).choices[0].delta.content == "two"


@pytest.mark.parametrize("script", ["stall", "silent"])
def test_a_caller_that_leaves_a_stream_ends_the_call_upstream(
    client: openai.OpenAI, predictor: ScriptedPredictor, front: Server, script: str
) -> None:
    predictor.left.clear()
    body = {"messages": [{"role": "user", "content": script}], "stream": True}
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream("POST", f"{front.url}/chat/completions", json=body, timeout=0.3) as response,
    ):
        response.read()
    assert predictor.left.wait(LEAVES_S)


def test_a_caller_that_leaves_before_an_answer_ends_the_call_upstream(
    predictor: ScriptedPredictor, front: Server
) -> None:
    predictor.left.clear()
    body = {"messages": [{"role": "user", "content": "silent"}]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{front.url}/chat/completions", json=body, timeout=0.3)
    assert predictor.left.wait(LEAVES_S)


def test_a_model_server_that_never_answers_is_a_504(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="in time") as caught:
        ask(client, "silent")
    assert caught.value.status_code == 504


def test_failures_of_the_model_server_are_told_without_its_internals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as crash:
        ask(client, "crash")
    assert crash.value.status_code == 502
    assert "secret" not in str(crash.value)
    with pytest.raises(openai.InternalServerError) as busy:
        ask(client, "overloaded")
    assert (busy.value.status_code, busy.value.response.headers["retry-after"]) == (503, "7")


def test_a_model_server_that_is_down_is_a_503_at_once_and_missed_no_longer_than_it_is_gone(
    client: openai.OpenAI, predictor: ScriptedPredictor, front: Server
) -> None:
    ready = front.url.replace("/openai/v1", "/v2/health/ready")
    assert httpx.get(ready).status_code == 200
    predictor.stop()
    try:
        started = time.monotonic()
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
                ask(client, "hello", stream=stream)
            assert caught.value.status_code == 503
            assert int(caught.value.response.headers["retry-after"]) > 0
        assert httpx.get(f"{front.url}/models").status_code == 503
        assert httpx.get(ready).status_code == 503
        assert time.monotonic() - started < 2
    finally:
        predictor.start()
    assert [chunk.choices[0].delta.content for chunk in ask(client, "hello", stream=True)] == ["one", "two"]
    assert httpx.get(ready).status_code == 200


def test_an_answer_under_way_is_finished_at_shutdown(predictor: ScriptedPredictor, model_dir: Path) -> None:
    predictor.release.clear()
    texts: list[str] = []
    with run_transformer(f"127.0.0.1:{predictor.port}", "m", model_dir=model_dir) as server:
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        stream = iter(ask(client, "wait", stream=True))
        texts.append(next(stream).choices[0].delta.content)
        reader = threading.Thread(target=lambda: texts.extend(chunk.choices[0].delta.content for chunk in stream))
        reader.start()
        threading.Timer(0.5, predictor.release.set).start()
    reader.join(10)
    assert texts == ["one", "two"]
