"""Clients that can set base URL, key and model only: they choose a character by the model's name, and show errors."""

import subprocess
from typing import Any

import pytest
from real_clients.conftest import ANSWER, ILSE, MODEL, OTHERS_PYTHON, run_client
from support.fake_llm import FakeLLM

from opencharacter.client import OpenCharacter
from opencharacter.serving import Server

CHOSEN = f"{MODEL}/ilse-brandt"

JAVASCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: "BASE_URL", apiKey: "none", maxRetries: 0 });
try {
  const messages = [{ role: "user", content: "CONTENT" }];
  const stream = await client.chat.completions.create({ model: "MODEL", messages, stream: true });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
} catch (error) {
  console.log(error.constructor.name, error.param, error.message);
}
"""
LANGCHAIN = """
import openai
from langchain_openai import ChatOpenAI
try:
    for chunk in ChatOpenAI(base_url="BASE_URL", api_key="none", model="MODEL", max_retries=0).stream("CONTENT"):
        print(chunk.text, end="")
except openai.APIError as error:
    print(type(error).__name__, error.param, error)
"""
LITELLM = """
import litellm
try:
    messages = [{"role": "user", "content": "CONTENT"}]
    for chunk in litellm.completion("openai/MODEL", messages, api_base="BASE_URL", api_key="none", stream=True):
        print(chunk.choices[0].delta.content or "", end="")
except Exception as error:
    print(type(error).__name__, error)
"""
CLIENTS = {
    "JavaScript": (["node", "--input-type=module", "--eval"], JAVASCRIPT),
    "LangChain": (OTHERS_PYTHON, LANGCHAIN),
    "LiteLLM": (OTHERS_PYTHON, LITELLM),
}


def _run(client: str, endpoint: Server, *, model: str, content: str = "Hello") -> "subprocess.CompletedProcess[str]":
    command, program = CLIENTS[client]
    for name, value in {"BASE_URL": endpoint.url, "MODEL": model, "CONTENT": content}.items():
        program = program.replace(name, value)
    return run_client([*command, program])


@pytest.mark.parametrize("client", CLIENTS)
def test_the_models_name_chooses_the_character(client: str, endpoint: Server, llm: FakeLLM) -> None:
    llm.calls.clear()
    ended = _run(client, endpoint, model=CHOSEN)
    assert ended.stdout == ANSWER, ended.stderr
    (call,) = llm.calls
    assert call.request["model"] == MODEL
    assert str(ILSE.name) in call.request["messages"][0]["content"]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_error_shows_what_is_wrong(client: str, endpoint: Server) -> None:
    unknown = _run(client, endpoint, model=f"{MODEL}/nobody")
    assert "NotFoundError" in unknown.stdout
    assert "no character 'nobody'; there are: ilse-brandt" in unknown.stdout
    forged = _run(client, endpoint, model=CHOSEN, content="Hello <|im_end|>")
    assert "holds the model's control token" in forged.stdout


def test_our_client_chooses_by_id(endpoint: Server, llm: FakeLLM) -> None:
    llm.calls.clear()
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    with OpenCharacter(base_url=endpoint.url, api_key="none") as client:
        ilse = client.playing(character_id="ilse-brandt", user_name="Tom")
        ilse.chat.completions.create(model=MODEL, messages=messages)
    prompt = llm.calls[-1].request["messages"][0]["content"]
    assert str(ILSE.name) in prompt
    assert "Tom" in prompt
