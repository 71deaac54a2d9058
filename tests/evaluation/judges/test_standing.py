"""Canaries, kinship and agreement in a run, and what the gate makes of them."""

import json
from pathlib import Path

import pytest
import yaml
from support.fake_llm import FakeLLM

from opencharacter.engines import EngineConfig
from opencharacter.evaluation.decide import gate
from opencharacter.evaluation.evaluation_config import GateConfig, PrimaryConfig
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import endpoint_subject, load_judge
from opencharacter.evaluation.suites import load_suite
from opencharacter.records.judges import JudgesReport
from opencharacter.storage.kinds import JUDGEMENTS, JUDGES
from opencharacter.storage.workspace import Artifact, Workspace

CHARACTERS = 25


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    measures = [{"kind": "rubric", "tasks": {"voice": "voice.md"}}]
    settings = {"name": "small", "items": {"path": "items.jsonl"}, "character": "persona", "measures": measures}
    (folder / "suite.yaml").write_text(yaml.safe_dump(settings))
    (folder / "voice.md").write_text("Voice: is it the character's?")
    items = [
        {"id": f"i{n}", "character": f"Keeper {n}.", "turns": [{"role": "user", "content": "Who are you?"}]}
        for n in range(CHARACTERS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def _answer(request: dict) -> str:
    """Models play their character, `new` better than the others; `fair` sees that, `blind` sees nothing."""
    text, model = " ".join(message["content"] for message in request["messages"]), request["model"]
    keeper = text.partition("Keeper ")[2].partition(".")[0]
    if model not in ("fair", "second", "blind"):
        return f"I, keeper {keeper}, say so as {model}."
    answer = text.partition("# The actor's answer")[2].partition("# The aspect")[0].strip()
    if model == "blind":
        return json.dumps({"reason": "r", "score": 4 if "as new" in text else 3})
    plays = answer.startswith(f"I, keeper {keeper}, say so")
    return json.dumps({"reason": "r", "score": 1 if not plays else 5 if "as new" in answer else 3})


def _run(
    suite: Path, workspace: Workspace, server: FakeLLM, *judges: str, families: tuple[str, str] = ("", "")
) -> Artifact:
    subjects = [
        endpoint_subject(
            name, EngineConfig(model=name, base_url=server.base_url), family=families[0] if name == "new" else None
        )
        for name in ("old", "new")
    ]
    panel = [
        load_judge(name, EngineConfig(model=name, base_url=server.base_url), family=families[1] or None)
        for name in judges
    ]
    (found,) = run_suites([load_suite(suite)], subjects, panel, workspace=workspace, seed=3).values()
    return found


def _outcome(found: Artifact) -> tuple[str, str]:
    config = GateConfig(primary=PrimaryConfig(suite="small", metric="voice"))
    decision = gate(config, found, challenger="new", base="old")
    return decision.outcome, " ".join([decision.reason, *decision.notes])


def _report(found: Artifact) -> JudgesReport:
    return JUDGES.read(found)


def test_a_judge_that_tells_canaries_decides(suite: Path, workspace: Workspace) -> None:
    with FakeLLM(answer=_answer) as server:
        found = _run(suite, workspace, server, "fair")
    (standing,) = _report(found).standings
    assert standing.canaries is not None
    assert (standing.canaries.verdict, standing.canaries.wrong.value) == ("passed", 0)
    assert _outcome(found)[0] == "passed"
    assert len(list(JUDGEMENTS.read(found))) == 2 * CHARACTERS, "canaries are no judgements of the models"


def test_a_judge_that_does_not_is_refused_and_the_gate_cannot_decide(suite: Path, workspace: Workspace) -> None:
    with FakeLLM(answer=_answer) as server:
        found = _run(suite, workspace, server, "blind")
    (standing,) = _report(found).standings
    assert standing.refusals
    assert "canaries wrongly, more than 10%" in standing.refusals[0]
    outcome, said = _outcome(found)
    assert outcome == "undecidable"
    assert "is left out: it ranks" in said


def test_the_others_decide_without_a_refused_judge(suite: Path, workspace: Workspace) -> None:
    with FakeLLM(answer=_answer) as server:
        found = _run(suite, workspace, server, "fair", "blind", "second")
    assert [bool(standing.refusals) for standing in _report(found).standings] == [False, True, False]
    assert _outcome(found)[0] == "passed"
    (agreed,) = _report(found).agreement
    assert agreed.task == "voice"
    pairs = {(kappa.first.partition("@")[0], kappa.second.partition("@")[0]): kappa.kappa for kappa in agreed.kappas}
    assert pairs["fair", "second"].value == pytest.approx(1)
    assert agreed.alpha.n == 2 * CHARACTERS


def test_a_judge_of_a_models_family_decides_nothing(suite: Path, workspace: Workspace) -> None:
    with FakeLLM(answer=_answer) as server:
        found = _run(suite, workspace, server, "fair", families=("llama", "llama"))
    assert _report(found).standings[0].related == ("new",)
    outcome, said = _outcome(found)
    assert outcome == "undecidable"
    assert "of their family" in said


def test_an_arena_whose_judge_likes_the_first_place_cannot_decide(suite: Path, workspace: Workspace) -> None:
    def first(request: dict) -> str:
        text = request["messages"][-1]["content"]
        return json.dumps({"reason": "r", "better": "1"}) if "# Answer 1" in text else _answer(request)

    with FakeLLM(answer=first) as server:
        found = _run(f"arena:{suite}", workspace, server, "fair")
    report = _report(found)
    assert report.arena is not None
    (pair,) = report.arena.pairs
    assert pair.win_rate.value == pytest.approx(0.5)
    assert (pair.order.flip_rate.value, pair.order.verdict) == (1.0, "refused")
    config = GateConfig(primary=PrimaryConfig(suite="arena-small", metric="preference"))
    decision = gate(config, found, challenger="new", base="old")
    assert decision.outcome == "undecidable"
    assert "changes 100% of 25 verdicts" in decision.reason
