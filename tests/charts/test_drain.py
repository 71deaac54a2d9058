"""A pod that ends: its engine stays until no answer is under way, and the grace period leaves time for that."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import vllm
from support.helm import one

from opencharacter.engines.vllm_server import MAX_STOP_STRINGS
from opencharacter.serving import DeployConfig
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.manifest import MODEL_FORMAT

MARGIN_S = 20
"""For what a pod does besides its hooks and its drain."""


def containers(*settings: str) -> dict[str, dict]:
    runtime = one("ServingRuntime", MODEL_FORMAT, "values.yaml", *settings)
    return {each["name"]: each for each in runtime["spec"]["containers"]}


def hook(url: str, idle_s: float) -> subprocess.Popen[bytes]:
    command = containers()["kserve-container"]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["python3", "-c"]
    return subprocess.Popen([sys.executable, "-c", command[2], url, str(idle_s)])


def gauges(running: int, waiting: int) -> str:
    labels = '{engine="0",model_name="bard"}'
    return (
        f"# HELP vllm:num_requests_running x\nvllm:num_requests_running{labels} {running}.0\n"
        f"vllm:num_requests_waiting{labels} {waiting}.0\nvllm:num_requests_waiting_by_reason{labels} 9.0\n"
    )


@contextmanager
def engine(*answers: str) -> Iterator[tuple[str, list[str]]]:
    """A metrics page; the last of the answers is given for good. Yields its address, and what it has answered."""
    given: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(answers[min(len(given), len(answers) - 1)])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(given[-1].encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics", given
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("busy", [gauges(1, 0), gauges(0, 2), "# an engine without statistics\n"])
def test_the_engine_stays_while_answers_are_under_way(busy: str) -> None:
    with engine(busy, busy, gauges(0, 0)) as (url, given):
        assert hook(url, 0.01).wait(timeout=20) == 0
        assert given == [busy, busy, gauges(0, 0)]


def test_an_engine_that_is_gone_is_not_waited_for() -> None:
    with engine(gauges(1, 0)) as (url, _):
        pass
    assert hook(url, 60).wait(timeout=20) == 0


def test_the_engines_hook_outlasts_the_arrival_of_new_requests() -> None:
    made = containers("serving.transformer.preStopSeconds=9")
    assert made["transformer-container"]["lifecycle"]["preStop"] == {"sleep": {"seconds": 9}}
    url, idle_s = made["kserve-container"]["lifecycle"]["preStop"]["exec"]["command"][3:]
    assert (url, int(idle_s)) == ("http://127.0.0.1:8081/metrics", 12)


def test_a_pod_may_take_as_long_as_its_answers() -> None:
    transformer = containers()["transformer-container"]
    before = transformer["lifecycle"]["preStop"]["sleep"]["seconds"]
    (drain,) = [each for each in transformer["args"] if each.startswith("--drain_seconds=")]
    assert before + int(drain.partition("=")[2]) + MARGIN_S <= DeployConfig().grace_seconds


def test_the_engine_takes_more_stop_strings_than_openais_four() -> None:
    variables = {each["name"]: each.get("value") for each in containers()["kserve-container"]["env"]}
    assert variables["VLLM_MAX_STOP_STRINGS"] == str(MAX_STOP_STRINGS)
    assert EndpointSettings().max_stop_strings <= MAX_STOP_STRINGS
    assert "VLLM_MAX_STOP_STRINGS" in vllm.envs.environment_variables, "vLLM's own name of the setting"
