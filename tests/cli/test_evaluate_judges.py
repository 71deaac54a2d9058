"""`evaluate judge-check` and `evaluate label` as commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM
from support.small_suite import write_suite

from opencharacter.cli.app import main


def _answer(request: dict) -> str:
    """A judge that sees what plays the character: a packaged answer, as it stands."""
    text = request["messages"][-1]["content"]
    if "# Answer 1" in text:
        return json.dumps({"reason": "r", "better": "tie"})
    if "# The actor's answer" not in text:
        return f"I am {request['model']}."
    return json.dumps({"reason": "r", "score": 3})


@pytest.fixture
def server() -> Iterator[FakeLLM]:
    with FakeLLM(answer=_answer) as running:
        yield running


def _command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *words])
    return int(ended.value.code or 0)


def test_a_judge_that_scores_all_alike_gets_a_card_and_code_3(
    server: FakeLLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge-check", "--judge", f"mine={server.base_url}#judge", "--workdir", str(tmp_path)]
    assert _command(*words) == 3
    out = capsys.readouterr().out
    assert "no decision may rest on this judge" in out
    card = json.loads((tmp_path / "judges" / "mine" / "judge-card.json").read_text())
    assert (card["items"], card["answers"], card["canaries"]["verdict"]) == (24, 48, "refused")
    assert card["repeatability"]["value"] == 1
    page = (tmp_path / "judges" / "mine" / "judge-card.html").read_text()
    assert "canaries ranked wrongly" in page
    calls = len(server.calls)
    assert calls == card["calls"]
    assert _command(*words, "--json") == 3
    assert len(server.calls) == calls, "a second check asks nothing"
    assert json.loads(capsys.readouterr().out) == card


@pytest.fixture
def work(server: FakeLLM, tmp_path: Path) -> list[str]:
    """Options of a working folder that holds a run of a small suite by two models."""
    suite, options = write_suite(tmp_path / "small"), ["--workdir", str(tmp_path / "work")]
    models = [f"--model={name}={server.base_url}#{name}" for name in ("old", "new")]
    assert _command("run", "--suite", str(suite), *models, "--judge", f"{server.base_url}#judge", *options) == 0
    return options


def test_labels_of_a_run_are_checked_before_the_judge_is_asked(
    server: FakeLLM, tmp_path: Path, work: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    host = server.base_url.partition("//")[2].partition("/")[0]
    identities = [f"{name}@{host}" for name in ("new", "old")]
    label = {"suite": "small", "question_id": "storm", "model": identities[0], "rival": identities[1], "score": 1}
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps(label) + "\n" + json.dumps(label | {"question_id": "nowhere"}) + "\n")
    words = ["judge-check", "--judge", f"mine={server.base_url}#other", "--labels", str(labels), *work]
    assert _command(*words) == 2
    assert "labels.jsonl:2: no answer of" in capsys.readouterr().err
    assert not any(call.request["model"] == "other" for call in server.calls)
    labels.write_text(json.dumps(label) + "\n")
    assert _command(*words) in (3, 4)
    card = json.loads((tmp_path / "work" / "judges" / "mine" / "judge-card.json").read_text())
    assert card["calibration"]["people"]["n"] == 1
    assert (card["items"], card["answers"]) == (3, 6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["label", "--suite", "nothing"], "holds no run of suite 'nothing'"),
        (["label", "--suite", "small", "--model", "nobody"], "--model nobody: small has not measured it"),
        (["judge-check", "--judge", "nobody"], "--judge nobody"),
    ],
)
def test_bad_input_is_one_error(
    words: list[str], message: str, work: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _command(*words, *work) == 2
    assert message in capsys.readouterr().err
