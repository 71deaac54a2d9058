"""Real vLLM behind the transformer: what the limits let through does not hold up another user's stream."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.endpoint.threats.constraints import HARMFUL, STALLING, TEXT, of, thing
from support.small_model import SMALL_MODEL_NAME

from opencharacter.serving import Server, run_transformer

HELLO = {"messages": [{"role": "user", "content": "Hello, who are you?"}], "seed": 1}
LONG = {**HELLO, "stream": True, "max_tokens": 300, "ignore_eos": True}

# At the limits, or just below.
HEAVY: dict[str, dict[str, Any]] = {
    "200 optional properties": of(thing(**{f"p{i}": TEXT for i in range(200)})),
    "ranges of integers": of(
        thing(**{f"p{i}": {"type": "integer", "minimum": -7, "maximum": 9**18} for i in range(99)})
    ),
    "lengths of texts": of({"type": "string", "maxLength": 33}),
    "formats": of(thing(**{f"p{i}": {"type": "string", "format": "email"} for i in range(13)})),
    "a value within itself": of(
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}, TEXT]}}}
    ),
    "a regular expression of many positions": {"structured_outputs": {"regex": ".{0,39}"}},
    "a regular expression of several readings": {"structured_outputs": {"regex": ".*foo.*"}},
    "500 choices": {"structured_outputs": {"choice": [f"{i}" + "c" * 60 for i in range(500)]}},
    "all bad words": {"bad_words": [f"word{i}"[:7] for i in range(64)]},
    "all biases": {"logit_bias": {str(i): -1 for i in range(1_024)}},
    "all allowed tokens": {"allowed_token_ids": list(range(1_024))},
    "all stop tokens": {"stop_token_ids": list(range(100, 164)), "min_tokens": 2},
}


@pytest.fixture(scope="module")
def front(vllm_url: str, model_dir: Path) -> Iterator[Server]:
    host = vllm_url.removeprefix("http://").removesuffix("/v1")
    with run_transformer(host, SMALL_MODEL_NAME, model_dir=model_dir) as server:
        yield server


@pytest.mark.timeout(600)
def test_the_engine_answers_all_that_passes_and_stays_alive(front: Server) -> None:
    url = f"{front.url}/chat/completions"
    with httpx.Client(timeout=120) as client:
        for name, fields in HEAVY.items():
            with client.stream("POST", url, json=LONG) as other_user:
                events = other_user.iter_lines()
                assert "data:" in next(events)
                answer = client.post(url, json={**HELLO, "max_tokens": 4, **fields})
                assert answer.status_code == 200, (name, answer.text)
                # The other user's stream has not ended, and goes on.
                assert any(line.startswith("data:") for line in events), name
        refused = [*STALLING.values(), *({"structured_outputs": {"regex": pattern}} for pattern in HARMFUL)]
        for fields in refused:
            assert client.post(url, content=json.dumps({**HELLO, **fields})).status_code in (413, 422)
        assert client.post(url, json={**HELLO, "max_tokens": 4}).json()["choices"][0]["message"]["content"]
