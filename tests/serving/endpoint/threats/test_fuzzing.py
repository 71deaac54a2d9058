"""Requests made from the endpoint's own OpenAPI description, and around it: no fault of the server, nothing hangs.

`OPENCHARACTER_FUZZ_EXAMPLES=2000` looks longer.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from support.fake_llm import FakeLLM

from opencharacter.serving import Server, run_transformer

_FEW = 40
EXAMPLES = int(os.environ.get("OPENCHARACTER_FUZZ_EXAMPLES", _FEW))


@pytest.fixture(scope="module")
def front(model_dir: Path) -> Iterator[Server]:
    with (
        FakeLLM() as llm,
        run_transformer(f"127.0.0.1:{llm.port}", "m", model_dir=model_dir) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def api(front: Server) -> Any:
    return schemathesis.openapi.from_url(f"{front.url.removesuffix('/openai/v1')}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.name)
@pytest.mark.parametrize("route", ["/chat/completions", "/tokenize"])
def test_no_request_is_a_fault_of_the_server(api: Any, route: str, mode: GenerationMode) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=EXAMPLES == _FEW,
        database=None,
    )
    @given(api[route]["POST"].as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(timeout=20)
        case.validate_response(
            response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    send()


def test_the_server_is_as_well_as_before(front: Server) -> None:
    answer = httpx.post(f"{front.url}/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
    assert answer.status_code == 200
    assert "Traceback" not in front.log.read_text()
