"""Talking to a character with a model that was not trained for it, and making a character."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.fake_llm import FakeLLM, Fault
from support.weights import write_model_folder

from opencharacter.characters import load_profile, load_prompt, system_prompt
from opencharacter.cli import main
from opencharacter.serving import run_transformer

ADA = "Name: Ada\nAge: 36\n"


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM() as server:
        yield server


@pytest.fixture
def ada(tmp_path: Path) -> Path:
    (tmp_path / "ada.txt").write_text(ADA)
    return tmp_path / "ada.txt"


def run(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


@pytest.mark.parametrize("option", ["--base-url", "--model"])
def test_any_endpoint_gets_the_packaged_prompt_and_a_note(
    option: str, llm: FakeLLM, ada: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-teacher")
    options = [option, llm.base_url, "--api-key-env", "TEACHER_KEY", "--message", "Hello"]
    code, out, err = run("chat", "--character", ada, *options, capsys=capsys)
    assert code == 0
    assert out.strip()
    [call] = llm.calls
    assert call.authorization == "Bearer sk-teacher"
    prompt = {"role": "system", "content": system_prompt(load_profile(ada))}
    assert call.request["messages"] == [prompt, {"role": "user", "content": "Hello"}]
    assert "character" not in call.request
    assert "was not trained for characters" in err


def test_a_name_that_the_endpoint_does_not_know_is_refused_with_those_it_knows(
    llm: FakeLLM, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = httpx.get(f"{llm.base_url}/models").json()["data"][0]["id"]
    llm.faults = [Fault("unknown_model")]
    code, _, err = run(
        "chat", "-c", ada, "--base-url", llm.base_url, "--model", "other", "--message", "Hello", capsys=capsys
    )
    assert code == 2
    assert "the model does not exist" in err
    assert f"models served there: {known}" in err


def test_a_persona_becomes_a_profile(llm: FakeLLM, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    new = ("characters", "new", "--persona", "A night-shift baker.", "--base-url", llm.base_url)
    code, out, _ = run(*new, capsys=capsys)
    assert code == 0
    assert json.loads(out)["persona"] == "A night-shift baker."
    file = tmp_path / "new" / "baker.json"
    assert run(*new, "--output", file, capsys=capsys)[:2] == (0, "")
    assert load_profile(file).model_dump(exclude_none=True) == load_profile_text(out, tmp_path)


def load_profile_text(text: str, folder: Path) -> dict[str, object]:
    (folder / "shown.json").write_text(text)
    return load_profile(folder / "shown.json").model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("characters", "new", "--persona", " ", "--base-url", "http://127.0.0.1:9/v1"), 2, "--persona is empty"),
        (("characters", "new", "--persona", "A baker"), 2, "give --base-url URL, or --model MODEL"),
        (("characters", "new", "--persona", "A baker", "--base-url", "http://127.0.0.1:9/v1"), 1, "nothing answers at"),
        (("characters", "new", "--persona", "A baker", "--model", "package:nowhere"), 2, "'nowhere' is not installed"),
        (("chat", "-c", "ADA", "--model", "package:nowhere"), 2, "'nowhere' is not installed"),
        (("chat", "-c", "ADA", "--model", "./nowhere"), 2, "no model './nowhere'"),
        (("chat", "-c", "ADA", "--model", "http://127.0.0.1:9/v1", "--message", "x"), 1, "nothing answers at"),
        (("chat", "-c", "ADA", "--model", "BASE", "--message", "x"), 2, "no chat template"),
        (("serve", "--model", "BASE"), 2, "no chat template"),
        (("serve", "--model", "http://127.0.0.1:9/openai"), 2, "expected an endpoint such as"),
        (("serve", "--model", "http://127.0.0.1:9/v1"), 1, "nothing answers at"),
    ],
)
def test_a_fault_is_one_message(
    arguments: tuple[str, ...], code: int, told: str, ada: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_model_folder(tmp_path / "base")
    words = [{"ADA": ada, "BASE": base}.get(word, word) for word in arguments]
    ended, _, err = run(*words, capsys=capsys)
    assert ended == code, err
    assert told in err
    assert "Traceback" not in err


def test_a_plain_endpoint_gets_the_system_prompt_that_is_asked_for(
    llm: FakeLLM, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--system-prompt", "paper", "--message", "Hello")
    code, _, err = run("chat", "-c", ada, "--base-url", llm.base_url, *options, capsys=capsys)
    assert code == 0
    assert "packaged system prompt 'paper'" in err
    expected = system_prompt(load_profile(ada), template=load_prompt("paper"))
    assert llm.calls[0].request["messages"][0]["content"] == expected


def test_the_transformer_before_any_endpoint_takes_the_character(
    llm: FakeLLM, ada: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model_dir": tmp_path, "allow_packaged_prompt": True, "packaged_prompt": "paper"}
    with run_transformer(f"127.0.0.1:{llm.port}", "fake", **options) as front:
        code, _, err = run("chat", "-c", ada, "--base-url", front.url, "--message", "Hello", capsys=capsys)
    assert (code, err) == (0, "")
    expected = system_prompt(load_profile(ada), template=load_prompt("paper"))
    assert llm.calls[0].request["messages"][0]["content"] == expected
