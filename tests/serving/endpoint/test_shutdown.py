"""What a shutdown does to answers under way, in one process and in several."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families
from serving.endpoint.scripted_predictor import ScriptedPredictor

from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

WAIT_S = 30
COUNTER = "opencharacter_requests_total"


def ask(server: Server, script: str, *, stream: bool = True) -> Any:
    client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
    messages = [{"role": "user", "content": script}]
    return client.chat.completions.create(model="m", messages=messages, stream=stream)  # type: ignore[call-overload]


def test_answers_that_outlast_the_time_to_drain_end_with_an_error(
    predictor: ScriptedPredictor, model_dir: Path
) -> None:
    predictor.release.clear()
    predictor.left.clear()
    failures: list[openai.APIError] = []
    begun = threading.Event()

    def wait_for(script: str, stream: bool) -> None:
        try:
            for _ in ask(server, script, stream=stream):
                begun.set()
        except openai.APIError as error:
            failures.append(error)

    settings = EndpointSettings(drain_s=1)
    with run_transformer(f"127.0.0.1:{predictor.port}", "m", model_dir=model_dir, settings=settings) as server:
        callers = [threading.Thread(target=wait_for, args=call) for call in (("wait", True), ("silent", False))]
        for caller in callers:
            caller.start()
        assert begun.wait(WAIT_S)
        while len(predictor.requests) < 2:
            begun.wait(WAIT_S)
    for caller in callers:
        caller.join(WAIT_S)
    assert sorted(error.code for error in failures) == ["shutting_down", "stream_interrupted"]
    assert all("shutting down" in str(error) for error in failures)
    assert predictor.left.is_set()


def _workers(server: Server) -> set[int]:
    """The processes below the supervisor and the transformer's first process."""
    [first] = _children(server.pid)
    return _children(first)


def _counted(root: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{root}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == COUNTER)


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_worker_that_dies_is_replaced_and_streams_of_all_are_finished_at_shutdown(
    predictor: ScriptedPredictor, model_dir: Path
) -> None:
    predictor.release.clear()
    texts: list[str] = []
    begun = threading.Semaphore(0)

    def read() -> None:
        for chunk in ask(server, "wait"):
            texts.append(chunk.choices[0].delta.content)
            begun.release()

    with run_transformer(f"127.0.0.1:{predictor.port}", "m", model_dir=model_dir, workers=2) as server:
        before = _workers(server)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        for _ in range(20):  # some of them reach the place of the dead one
            assert ask(server, "hello", stream=False)
        assert len(_workers(server)) == 2
        assert max(before) in _workers(server)
        root = server.url.removesuffix("/openai/v1")
        assert httpx.get(f"{root}/v2/health/ready").status_code == 200
        # Counted just after its answer has left, so the last one may still be missing.
        assert any(_counted(root) == 20 for _ in range(50))
        assert {_counted(root) for _ in range(4)} == {20}  # whichever worker is asked, it tells of all

        readers = [threading.Thread(target=read) for _ in range(8)]
        for reader in readers:
            reader.start()
        for _ in readers:
            assert begun.acquire(timeout=WAIT_S)
        threading.Timer(0.5, predictor.release.set).start()
    for reader in readers:
        reader.join(WAIT_S)
    assert sorted(texts) == ["one"] * 8 + ["two"] * 8
