"""Both processes of a served model: started, watched and ended together; vLLM's place is taken by the fake."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from support import fake_llm
from support.small_model import SMALL_MODEL_NAME

from opencharacter.engines import VllmServer
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.serving import run_transformer, serve
from opencharacter.system.processes import end_supervised, start_supervised, wait_until_healthy

HELLO = [{"role": "user", "content": "Where do you live?"}]
CHARACTER = {"character": {"name": "Ilse Brandt", "persona": "A lighthouse keeper", "birth_place": "Sylt"}}


@contextmanager
def fake_vllm(weights: Path, model_name: str, *, max_model_len: int | None, port: int) -> Iterator[VllmServer]:
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    command = [sys.executable, str(fake_llm.__file__), "--port", str(port)]
    process = start_supervised(command, owner_pid=os.getpid(), log=log)
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}", log, name="the fake", timeout_s=60)
        yield VllmServer(f"http://127.0.0.1:{port}/v1", process.pid, log)
    finally:
        end_supervised(process)
        log.unlink()


@pytest.fixture
def _fake_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencharacter.serving.local_server.serve_vllm", fake_vllm)


def refuses_connections(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) != 0


@pytest.mark.usefixtures("_fake_predictor")
def test_a_served_model_answers_and_ends_as_one(model_dir: Path) -> None:
    with serve(model_dir, "bard") as endpoint:
        client = openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0)
        assert client.chat.completions.create(model=endpoint.model, messages=HELLO, extra_body=CHARACTER).choices
        os.kill(endpoint.servers[1].pid, signal.SIGTERM)
        with pytest.raises(OpenCharacterError, match="vLLM ended"):
            endpoint.wait()
    assert all(refuses_connections(server.url) for server in endpoint.servers)


def test_a_folder_without_a_prompt_is_refused_before_anything_loads(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.json"), serve(tmp_path, "bard"):
        pass


@pytest.mark.usefixtures("_fake_predictor")
def test_a_port_in_use_is_named(model_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=str(port)), serve(model_dir, "bard", port=port):
            pass


def test_a_transformer_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(OpenCharacterError, match=r"model\.json"), run_transformer("x:1", "m", model_dir=tmp_path):
        pass


def test_the_stock_client_talks_to_a_character_played_by_a_real_model(vllm_url: str, model_dir: Path) -> None:
    predictor_host = vllm_url.removeprefix("http://").removesuffix("/v1")
    request = {"model": SMALL_MODEL_NAME, "messages": HELLO, "max_tokens": 24, "temperature": 0, "seed": 1}
    with run_transformer(predictor_host, SMALL_MODEL_NAME, model_dir=model_dir) as server:
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        assert client.models.list().data[0].id == SMALL_MODEL_NAME
        whole = client.chat.completions.create(**request, extra_body=CHARACTER)
        with client.chat.completions.create(**request, stream=True, extra_body=CHARACTER) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        plain = client.chat.completions.create(**request)
        assert whole.choices[0].message.content == streamed
        assert whole.usage is not None
        assert plain.usage is not None
        assert whole.usage.prompt_tokens > plain.usage.prompt_tokens + 10, "the profile reached the model"
        with pytest.raises(openai.BadRequestError, match="max_model_len"):
            client.chat.completions.create(**(request | {"max_tokens": 10_000}), extra_body=CHARACTER)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**(request | {"model": "absent"}), extra_body=CHARACTER)
