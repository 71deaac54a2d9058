"""Hostile requests at the real transformer: each gets its status, and the streams of other users go on."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving.endpoint.raw_http import Answer, connect, read_to_end
from serving.endpoint.scripted_predictor import ScriptedPredictor
from serving.endpoint.threats.hostile import THREATS, Threat

from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

WAIT = {"messages": [{"role": "user", "content": "wait"}], "stream": True}


@pytest.fixture(scope="module")
def folding_model_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer makes one text of many."""
    folder = tmp_path_factory.mktemp("folding") / "model"
    folder.mkdir()
    for file in model_dir.iterdir():
        (folder / file.name).symlink_to(file)
    tokenizer = json.loads((model_dir / "tokenizer.json").read_bytes())
    kinds = [{"type": "Nmt"}, {"type": "NFKD"}, {"type": "StripAccents"}]
    kinds.append({"type": "Replace", "pattern": {"Regex": "[\\u200b-\\u200d]"}, "content": ""})
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_text(
        json.dumps({**tokenizer, "normalizer": {"type": "Sequence", "normalizers": kinds[-1:] + kinds[:-1]}})
    )
    return folder


@pytest.fixture(scope="module")
def front(predictor: ScriptedPredictor, folding_model_dir: Path) -> Iterator[Server]:
    settings = EndpointSettings(head_timeout_s=1, body_timeout_s=1)
    with run_transformer(f"127.0.0.1:{predictor.port}", "m", model_dir=folding_model_dir, settings=settings) as server:
        yield server


@pytest.fixture
def other_user(front: Server, predictor: ScriptedPredictor) -> Iterator[httpx.Response]:
    """A stream that has begun before the threat, and ends after it."""
    predictor.release.clear()
    with (
        httpx.Client(timeout=20) as client,
        client.stream("POST", f"{front.url}/chat/completions", json=WAIT) as stream,
    ):
        stream.first = stream.iter_lines()  # type: ignore[attr-defined]
        assert "one" in next(stream.first)  # type: ignore[attr-defined]
        yield stream
    predictor.release.set()


def sent(url: str, request: bytes) -> Answer:
    with connect(url) as connection:
        with contextlib.suppress(ConnectionError):  # the server may have seen enough
            connection.sendall(request)
        try:
            return read_to_end(connection)
        except ConnectionError:
            return Answer(0, {}, b"")


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.name)
def test_a_hostile_request_gets_its_status_and_other_streams_go_on(
    front: Server, predictor: ScriptedPredictor, other_user: httpx.Response, threat: Threat
) -> None:
    calls = len(predictor.requests)
    answer = sent(front.url, threat.sent)
    assert answer.status in threat.status, answer.body[:300]
    got = [json.dumps(body, ensure_ascii=False, separators=(",", ":")) for _, body in predictor.requests[calls:]]
    assert len(got) == (answer.status == 200)
    if answer.status not in (0, 200):
        assert answer.error["message"]
        assert len(answer.body) < 2_000
    if threat.reaches is not None:
        assert json.dumps(threat.reaches, ensure_ascii=False)[1:-1] in got[0] or threat.reaches in got[0]
    if threat.withheld is not None:
        assert threat.withheld not in got[0]
    predictor.release.set()
    rest = "\n".join(other_user.first)  # type: ignore[attr-defined]
    assert "two" in rest
    assert rest.rstrip().endswith("data: [DONE]")


def test_there_are_threats_of_each_kind_and_their_names_differ() -> None:
    assert len({threat.name for threat in THREATS}) == len(THREATS) >= 60


def test_the_server_is_as_well_as_before(front: Server) -> None:
    answer = httpx.post(f"{front.url}/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
    assert answer.status_code == 200
    log = front.log.read_text()
    assert "Traceback" not in log
    assert '"status":500' not in log.replace(" ", "")
