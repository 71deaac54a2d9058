"""From a copy of PersonaGym to figures, as a person meets it."""

import json
import re

import pytest
from support.fake_llm import FakeLLM, default_answer
from support.personagym_copy import PERSONAS, TASKS, write_copy

from opencharacter.cli import main


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", *words])
        streams = capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err

    return run


def test_a_copy_is_imported_planned_and_measured_in_both_ways(tmp_path, command, fake_llm: FakeLLM) -> None:
    def answer(request: dict) -> str:
        batch = "Grade by these rubrics." in request["messages"][-1]["content"]
        if batch and request["model"] == "mute":
            return "(1) Evaluation: four"
        return "(1) Evaluation: Therefore, the final score is 4" if batch else default_answer(request)

    fake_llm._answer = answer
    write_copy(tmp_path / "copy")
    code, out, err = command("import", "personagym", "copy", "--allow-changes")
    assert code == 0, err
    assert re.search(r"^imported-suites/personagym-light: .*, 3 personas, the first question", out, re.MULTILINE)
    assert re.search(r"personagym-faithful: .*published tables only", out)
    url = fake_llm.base_url
    suites = ["--suite", "imported-suites/personagym-light", "--suite", "imported-suites/personagym-light-faithful"]
    asked = [*suites, "--model", f"a={url}#a", "--model", f"b={url}#b", "--judge", f"{url}#judge"]
    code, out, err = command("plan", *asked)
    assert code == 0, err
    assert out.count("published tables only") == 1
    planned = json.loads(command("plan", *asked, "--limit", "2", "--json")[1])
    assert not fake_llm.calls
    code, out, err = command("run", *asked, "--limit", "2")
    assert code == 0, err
    assert "personagym-light-faithful is for comparison with published tables only" in out
    assert len(re.findall(r"^\w+ +4\.000 \(sd 0\.000\) +4\.000 \(sd 0\.000\) +2$", out, re.MULTILINE)) == len(TASKS) + 1
    questions = 2 * len(TASKS)
    assert len(fake_llm.calls) == 2 * questions + 2 * questions + 4 * questions, "answers, examples, judgements"
    assert planned["calls"] == len(fake_llm.calls)
    assert "no score can be read" not in out
    assert "next: opencharacter evaluate compare --challenger b --champion a\n" in out
    code, out, err = command("run", *asked[2:-1], f"{url}#mute", "--limit", "2")
    assert code == 0, err
    assert "note: in 20 of 20 replies of judges no score can be read; each counts as 0" in out
    assert "next: opencharacter evaluate report\n" in out, "nothing is compared by what decides nothing"


def test_a_copy_that_was_changed_ends_with_code_2_and_leaves_nothing(tmp_path, command) -> None:
    write_copy(tmp_path / "copy")
    code, _, err = command("import", "personagym", "copy")
    assert code == 2
    assert "not the published PersonaGym" in err
    assert "--allow-changes" in err
    (tmp_path / "copy/questions/benchmark-v1" / f"{PERSONAS[0]}.json").unlink()
    code, _, err = command("import", "personagym", "copy", "--allow-changes")
    assert code == 2
    assert "the file is missing" in err
    assert not (tmp_path / "imported-suites").exists()
