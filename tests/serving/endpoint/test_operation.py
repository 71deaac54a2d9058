"""Keys, limits, metrics and logs at the real transformer, with the stock client."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from serving.endpoint.scripted_predictor import ScriptedPredictor

from opencharacter.errors import OpenCharacterError
from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.access import add_key, new_key
from opencharacter.serving.endpoint.settings import EndpointSettings

(WEB, WEB_KEY), (FEW, FEW_KEY) = new_key("web", strict=True), new_key("few", requests_per_minute=1)
HELLO = [{"role": "user", "content": "hello"}]
SECRET_WORDS = "the colour of her letters"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def front(predictor: ScriptedPredictor, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    for key in (WEB_KEY, FEW_KEY):
        add_key(key, file)
    settings = EndpointSettings(api_keys_file=file, cors_origins=("https://app.example",), tokens_per_day=10_000)
    with run_transformer(f"127.0.0.1:{predictor.port}", "bard", model_dir=model_dir, settings=settings) as server:
        yield server


def client(front: Server, secret: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=front.url, api_key=secret, max_retries=0)


def line_of(front: Server, request_id: str) -> dict[str, object]:
    """The request's line, which is written just after its answer."""
    while True:
        texts = [text for text in front.log.read_text().splitlines() if f'"id": "{request_id}"' in text]
        if texts:
            (text,) = texts
            return json.loads(text)


def test_a_key_opens_the_endpoint_and_stays_there(front: Server, predictor: ScriptedPredictor) -> None:
    answer = client(front, WEB).chat.completions.with_raw_response.create(
        model="bard", messages=HELLO, extra_headers={"traceparent": PARENT, "Origin": "https://app.example"}
    )
    assert answer.parse().choices[0].message.content
    assert answer.headers["x-ratelimit-limit-tokens"] == "10000"
    assert "X-Ratelimit-Remaining-Tokens" in answer.headers["access-control-expose-headers"]
    headers, _ = predictor.requests[-1]
    assert "Authorization" not in headers, "the model server has no use for our keys"
    assert headers["traceparent"] == PARENT


@pytest.mark.parametrize("secret", ["oc-unknown", "none"])
def test_without_a_key_there_is_no_answer_and_no_list_of_models(
    front: Server, predictor: ScriptedPredictor, secret: str
) -> None:
    predictor.requests.clear()
    with pytest.raises(openai.AuthenticationError) as caught:
        client(front, secret).chat.completions.create(model="bard", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        client(front, secret).models.list()
    assert predictor.requests == []


def test_each_key_is_read_as_strictly_as_it_asks(front: Server) -> None:
    with pytest.raises(openai.UnprocessableEntityError):
        client(front, WEB).chat.completions.create(model="bard", messages=HELLO, extra_body={"mystery": 1})
    answer = client(front, FEW).chat.completions.with_raw_response.create(
        model="bard", messages=HELLO, extra_body={"mystery": 1}
    )
    assert answer.headers["x-dropped-fields"] == "mystery"
    with pytest.raises(openai.RateLimitError) as caught:
        client(front, FEW).chat.completions.create(model="bard", messages=HELLO)
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_metrics_and_log_tell_of_requests_and_of_nothing_else(front: Server) -> None:
    words = [{"role": "user", "content": SECRET_WORDS}]
    with client(front, WEB).chat.completions.create(model="bard", messages=words, stream=True) as stream:
        assert list(stream)
        request_id = stream.response.headers["x-request-id"]
    root = front.url.removesuffix("/openai/v1")
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/"):
        assert httpx.get(root + path).status_code == 200, "probes and Prometheus need no key"
    line = line_of(front, request_id)
    assert (line["status"], line["reason"], line["key"], line["model"], line["stream"]) == (
        200,
        "ok",
        "web",
        "bard",
        True,
    )
    assert float(str(line["duration_ms"])) >= float(str(line["ttft_ms"])) > 0
    text = front.log.read_text()
    assert SECRET_WORDS not in text
    assert WEB not in text
    assert "GET /" not in text, "no line of a probe"
    told = httpx.get(f"{root}/metrics").text
    labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="vllm",gen_ai_request_model="bard"'
    assert f"gen_ai_server_time_to_first_token_seconds_count{{{labels}}} " in told
    assert (
        'opencharacter_requests_total{reason="invalid_api_key",route="/openai/v1/chat/completions",status="401"}'
        in told
    )
    assert 'route="/openai/v1/chat/completions",status="422"' in told


def test_a_keys_file_that_cannot_be_used_stops_the_start(predictor: ScriptedPredictor, model_dir: Path) -> None:
    settings = EndpointSettings(api_keys_file=model_dir / "nothing.yaml")
    with (
        pytest.raises(OpenCharacterError, match=r"nothing\.yaml"),
        run_transformer(f"127.0.0.1:{predictor.port}", "bard", model_dir=model_dir, settings=settings),
    ):
        pass
