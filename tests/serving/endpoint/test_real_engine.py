"""What the contract relies on of the model server, asked of a real vLLM."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.contract_calls import contract
from support.payload_shapes import ADA, HELLO, PROMPT, SHAPES, message
from support.small_model import SMALL_MODEL_NAME

from opencharacter.serving import run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

pytestmark = pytest.mark.timeout(600)

_TIMEOUT_S = 120
_AT_ONCE = 8


@pytest.fixture(scope="module")
def engine(vllm_url: str) -> str:
    return vllm_url.removesuffix("/v1")


def body_of(request: dict[str, Any]) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(contract().chat(json.dumps(request).encode(), {}, strict=False).body)
    return sent | {"model": SMALL_MODEL_NAME}


async def test_every_shape_of_a_request_is_answered(engine: str) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:

        async def ask(name: str) -> tuple[str, int, str]:
            body = body_of(SHAPES[name][0]) | {"max_tokens": 1}
            body.pop("max_completion_tokens", None)
            async with places:
                answer = await client.post(f"{engine}/v1/chat/completions", json=body)
            return name, answer.status_code, answer.text if answer.is_error else ""

        answers = await asyncio.gather(*map(ask, SHAPES))
    assert [answer for answer in answers if answer[1] != 200] == []


def prompt_text(engine: str, request: dict[str, Any]) -> str:
    """The prompt that vLLM makes of a request."""
    body = {key: value for key, value in body_of(request).items() if key != "stream_options"}
    tokens = httpx.post(f"{engine}/tokenize", json=body, timeout=_TIMEOUT_S, trust_env=False).json()["tokens"]
    told = {"model": SMALL_MODEL_NAME, "tokens": tokens}
    return str(httpx.post(f"{engine}/detokenize", json=told, timeout=_TIMEOUT_S, trust_env=False).json()["prompt"])


def test_a_prefilled_answer_is_left_open_and_any_other_prompt_opens_a_new_one(engine: str) -> None:
    prefilled = prompt_text(engine, {"messages": [*HELLO, message("assistant", "Good mor")], **ADA})
    assert f"<|im_start|>system\n{PROMPT}<|im_end|>" in prefilled
    assert prefilled.endswith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nGood mor")
    fresh = prompt_text(engine, {"messages": [*HELLO, message("assistant", "")], **ADA})
    assert fresh.endswith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")


def test_a_character_of_the_server_s_own_answers_by_the_model_s_name(
    engine: str, model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "ada.json").write_text(json.dumps({"name": "Ada"}))
    settings = EndpointSettings(characters_dir=tmp_path, characters_refresh_s=0.05)
    host = engine.removeprefix("http://")
    with (
        run_transformer(host, SMALL_MODEL_NAME, model_dir=model_dir, settings=settings) as front,
        httpx.Client(base_url=front.url, timeout=_TIMEOUT_S, trust_env=False) as client,
    ):
        request = {"model": f"{SMALL_MODEL_NAME}/ada", "messages": HELLO, "max_tokens": 2}
        answer = client.post("/chat/completions", json=request).json()
        counted = client.post("/tokenize", json=request).json()
        assert counted.keys() == {"count", "max_model_len"}
        assert answer["usage"]["prompt_tokens"] == counted["count"]
        assert answer["model"] == SMALL_MODEL_NAME
        assert client.post("/chat/completions", json=request | {"model": f"{SMALL_MODEL_NAME}/bo"}).status_code == 404

        (tmp_path / "bo.txt").write_text("Name: Bo")
        names = [entry["id"] for entry in client.get("/models").json()["data"]]
        while f"{SMALL_MODEL_NAME}/bo" not in names:  # ends by the test's time limit, else
            names = [entry["id"] for entry in client.get("/models").json()["data"]]
        assert client.post("/chat/completions", headers={"X-Character": "bo"}, json=request).status_code == 200
