"""Every example of docs/call-the-endpoint.md runs as it stands, with the client that it names."""

import re
import sys

import pytest
from real_clients.conftest import ANSWER, MODEL, OTHERS_PYTHON, ROOT, run_client
from support.fake_llm import FakeLLM

from opencharacter.serving import Server

PAGE = (ROOT / "docs" / "call-the-endpoint.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"
EXAMPLES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = {
    "curl": ["sh", "-euc"],
    "Python": [sys.executable, "-c"],
    "OpenAI's Python client": OTHERS_PYTHON,
    "OpenAI's JavaScript client": ["node", "--input-type=module", "--eval"],
    "LangChain": OTHERS_PYTHON,
    "LiteLLM": OTHERS_PYTHON,
}


def test_the_page_has_an_example_for_each_client() -> None:
    assert list(EXAMPLES) == list(COMMANDS)


def test_our_client_works_with_the_newest_openai(endpoint: Server) -> None:
    # The library's own lock has the version that its other parts need.
    code = EXAMPLES["Python"].replace(f"{ADDRESS}/v1", endpoint.url)
    ended = run_client([*OTHERS_PYTHON, code], python_path=str(ROOT))
    assert ended.stdout == ANSWER, ended.stderr


@pytest.mark.parametrize("title", COMMANDS)
def test_an_example_of_the_page_gets_its_answer_in_character(title: str, endpoint: Server, llm: FakeLLM) -> None:
    llm.calls.clear()
    code = EXAMPLES[title]
    assert f"{ADDRESS}/v1" in code
    address = endpoint.url.removesuffix("/openai/v1")
    ended = run_client([*COMMANDS[title], code.replace(ADDRESS, address)])
    assert ended.returncode == 0, ended.stderr
    assert ANSWER in ended.stdout
    (call,) = llm.calls
    first, *rest = call.request["messages"]
    assert call.request["model"] == MODEL
    assert first["role"] == "system"
    assert "Ilse Brandt" in first["content"]
    assert rest[-1] == {"role": "user", "content": "What keeps you awake at night?"}
    assert call.authorization == "Bearer none"
