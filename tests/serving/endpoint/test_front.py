"""HTTP at the real transformer: limits of heads and bodies, slow and half-open connections, ids, routes, browsers."""

import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving.endpoint.raw_http import connect, exchange, post, read_to_end
from serving.endpoint.scripted_predictor import ScriptedPredictor

from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

SETTINGS = EndpointSettings(
    head_timeout_s=1,
    body_timeout_s=1,
    write_timeout_s=1,
    cors_origins=("https://app.example", "http://localhost:3000"),
    max_in_flight=2_000,
)
HELLO = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
STREAMS = 1_100
LEAVES_S = 10


@pytest.fixture(scope="module")
def front(predictor: ScriptedPredictor, model_dir: Path) -> Iterator[Server]:
    with run_transformer(f"127.0.0.1:{predictor.port}", "m", model_dir=model_dir, settings=SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def root(front: Server) -> str:
    return front.url.removesuffix("/openai/v1")


def test_a_head_that_is_too_large_is_refused_in_openais_form(root: str) -> None:
    answer = exchange(root, post(HELLO, b"X-Filler: " + b"x" * (SETTINGS.max_head_bytes + 1)))
    assert (answer.status, answer.error["code"]) == (431, "request_head_too_large")
    assert exchange(root, post(HELLO, b"X-Filler: " + b"x" * (SETTINGS.max_head_bytes // 2))).status == 200


def test_a_head_without_end_is_cut_long_before_it_is_read(root: str) -> None:
    with connect(root) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Filler: ")
        with pytest.raises(ConnectionError):
            connection.sendall(b"x" * (64 << 20))


@pytest.mark.parametrize("head", [b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n", b"P", b"\r\n"])
def test_a_head_that_does_not_arrive_is_cut(root: str, head: bytes) -> None:
    answer = exchange(root, head)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


def test_a_connection_that_says_nothing_is_closed(root: str) -> None:
    assert exchange(root, b"").status == 0


@pytest.mark.parametrize("after", [b"", b"\r\n", b"GET / HT"])
def test_a_connection_that_is_kept_open_is_cut_when_its_next_head_stays_away(root: str, after: bytes) -> None:
    with connect(root) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(after or b"G")
        assert read_to_end(connection).status == 408


def test_a_body_that_does_not_arrive_is_a_408_and_its_connection_ends(root: str) -> None:
    with connect(root) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = read_to_end(connection)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


def test_a_client_that_leaves_its_answer_unread_is_cut_and_so_is_the_call_upstream(
    root: str, predictor: ScriptedPredictor
) -> None:
    predictor.left.clear()
    flood = json.dumps({"messages": [{"role": "user", "content": "flood"}], "stream": True}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with connect(root) as probe:
            address = probe.getpeername()
        connection.connect(address)
        connection.sendall(post(flood))
        assert predictor.left.wait(LEAVES_S)


def test_a_refused_body_that_still_comes_costs_nobody_the_refusal(root: str) -> None:
    answer = httpx.post(f"{root}/v1/nothing", content=b"x" * (8 << 20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 7"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Bad Name: x"],
        [b"X-Folded: a\r\n b"],
    ],
)
def test_a_head_that_another_parser_might_read_otherwise_is_refused(root: str, lines: list[bytes]) -> None:
    answer = exchange(root, post(b"hello", *lines))
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")


def test_a_tunnel_is_refused(root: str) -> None:
    assert exchange(root, b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n").status == 405


def test_an_upgrade_that_is_not_taken_does_not_cost_the_answer(root: str) -> None:
    upgrade = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"]
    with connect(root) as connection:
        connection.sendall(post(HELLO, *upgrade).replace(b"Connection: close\r\n", b""))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_every_answer_has_the_request_id_and_the_model_server_gets_it(root: str, predictor: ScriptedPredictor) -> None:
    url = f"{root}/v1/chat/completions"
    own = httpx.post(url, content=HELLO, headers={"X-Request-Id": "order-66.a:1"})
    assert own.headers["x-request-id"] == predictor.requests[-1][0]["X-Request-Id"] == "order-66.a:1"
    made = {httpx.post(url, content=HELLO).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert httpx.post(url, content=b"{").headers["x-request-id"].startswith("req-")
    assert httpx.get(f"{root}/v1/nothing", headers={"X-Request-Id": "a"}).headers["x-request-id"] == "a"


@pytest.mark.parametrize("given", [b"caf\xc3\xa9", b"two words", b"x" * 200, b"", b"a\tb", b'"}{'])
def test_an_id_that_is_unfit_for_a_log_line_is_replaced(root: str, predictor: ScriptedPredictor, given: bytes) -> None:
    answer = exchange(root, post(HELLO, b"X-Request-Id: " + given))
    assert answer.status == 200
    assert answer.headers["x-request-id"].startswith("req-")
    assert predictor.requests[-1][0]["X-Request-Id"] == answer.headers["x-request-id"]


def test_bytes_beyond_ascii_in_other_headers_are_no_fault_of_the_server(
    root: str, predictor: ScriptedPredictor
) -> None:
    strange = [b"Authorization: Bearer caf\xc3\xa9", b"traceparent: \xff", b"User-Agent: \xe2\x98\x83"]
    assert exchange(root, post(HELLO, *strange)).status == 200
    assert "Authorization" not in predictor.requests[-1][0]
    assert exchange(root, post(HELLO, b"Authorization: Bearer key")).status == 200
    assert predictor.requests[-1][0]["Authorization"] == "Bearer key"


def test_other_routes_and_methods_are_refused_in_openais_form(root: str) -> None:
    unknown = httpx.post(f"{root}/v1/engines/x/answers", json={})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert unknown.json()["error"]["type"] == "invalid_request_error"
    wrong = httpx.get(f"{root}/openai/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["error"]["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
    assert httpx.delete(f"{root}/v1/models").headers["allow"] == "GET"
    assert httpx.post(f"{root}/v2/health/ready").status_code == 405


def test_nobody_can_unload_the_model(root: str) -> None:
    for path in ("unload", "load"):
        assert httpx.post(f"{root}/v2/repository/models/m/{path}").status_code == 404
    assert httpx.get(f"{root}/v2/models/m/ready").status_code == 200


def test_browsers_may_call_from_the_configured_origins_only(root: str) -> None:
    url = f"{root}/v1/chat/completions"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = httpx.options(url, headers={"Origin": "https://app.example", **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    refused = httpx.post(url, content=b"{", headers={"Origin": "http://localhost:3000"})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
    other = httpx.options(url, headers={"Origin": "https://evil.example", **asked})
    assert (other.status_code, other.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "Origin"


def test_readiness_does_not_wait_behind_streams(root: str, predictor: ScriptedPredictor) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    predictor.release.clear()
    wait = post(json.dumps({"messages": [{"role": "user", "content": "wait"}], "stream": True}).encode())
    connections = [connect(root) for _ in range(STREAMS)]
    try:
        for connection in connections:
            connection.sendall(wait)
        for connection in connections:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        for path in ("/v2/health/ready", "/v2/health/live", "/v1/models/m", "/metrics"):
            assert httpx.get(root + path).status_code == 200
    finally:
        predictor.release.set()
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_log_is_free_of_probes_and_tells_the_event_loop(front: Server, root: str) -> None:
    for path in ("/v2/health/ready", "/v2/health/live", "/metrics", "/v1/models/m"):
        assert httpx.get(root + path).status_code == 200
    log = front.log.read_text()
    assert "/v2/health" not in log
    assert "health.ready" not in log
    assert "the event loop is uvloop" in log
