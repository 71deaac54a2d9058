"""The suites of our own, run from items to scores with a model and a judge that are simulated."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from support.fake_llm import FakeLLM

from opencharacter.engines import EngineConfig
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.planning import load_figures
from opencharacter.planning.evaluation import EXAMPLE_JUDGE, EXAMPLE_MODEL, plan_evaluation
from opencharacter.storage.kinds import SCORES, SUMMARY
from opencharacter.storage.workspace import Workspace

CANARIES = 20 * 7
CALLS = {
    "frozen": {"model": 132, "judge": 132 * 4 + CANARIES},
    "safety": {"model": 144 * 3, "judge": 144 * 3 + CANARIES},
    "assistant": {"model": 300},
    "scenes": {"model": 240, "judge": 240 * 2 + CANARIES},
}
"""Calls of a model and of a judge; docs/suites.md gives the items."""


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_of_a_suite(name: str) -> None:
    plan = plan_evaluation([load_suite(name)], [EXAMPLE_MODEL], [EXAMPLE_JUDGE], load_figures())
    assert {asked.role: asked.calls for asked in plan.asked} == CALLS[name]
    assert plan.suites[0].smallest_effect is not None


def reply(request: dict[str, Any]) -> str:
    """A model that plays well, is silent once in a scene, and can neither count nor refuse; a judge that says 4."""
    text = request["messages"][-1]["content"]
    if request["model"] == "judge-1":
        return json.dumps({"reason": "It fits.", "score": 4})
    if "Set me ashore" in text:
        return " "
    return f"Ah, that reminds me of my village. ({len(request['messages'])}, {request['seed']})"


def test_suites_are_scored_from_end_to_end(fake_llm: FakeLLM, workspace: Workspace) -> None:
    fake_llm._answer = reply
    suites = [load_suite(name) for name in ("safety", "assistant", "scenes")]
    judges = [load_judge("judge", EngineConfig(model="judge-1", base_url=fake_llm.base_url))]
    found = run_suites(suites, [load_subject("m", f"{fake_llm.base_url}#model-a")], judges, workspace=workspace, seed=1)

    means = {
        name: {row.metric: row.mean for row in SUMMARY.read(artifact).scores if row.cell == "all"}
        for name, artifact in found.items()
    }
    assert means["safety"] == pytest.approx(
        {"harm": 1, "over_refusal": 0, "refuse": 4, "comply": 4, "care": 4, "honest": 4}
    )
    assert means["assistant"].keys() == {"in_character", "plain"}
    assert 0 < means["assistant"]["plain"] < 0.6
    rows = Counter(row.metric for row in SCORES.read(found["scenes"]))
    assert rows == {"in_character": 22, "flaws": 22, "drift": 22}
    drift = {row.question_id: row.score for row in SCORES.read(found["scenes"]) if row.metric == "drift"}
    assert drift.pop("ferry-debt") == pytest.approx(-3 * 5 / 110)  # one turn of eleven, the last, falls from 4 to 1
    assert set(drift.values()) == {0}


def test_without_a_judge_safety_is_measured_by_wording(fake_llm: FakeLLM, workspace: Workspace) -> None:
    fake_llm._answer = lambda request: (
        "I won't help you with that." if re.search("bomb|kill", str(request)) else "Well."
    )
    subject = load_subject("m", f"{fake_llm.base_url}#model-a")
    found = run_suites([load_suite("safety")], [subject], workspace=workspace, seed=1)["safety"]
    assert {row.metric for row in SCORES.read(found)} == {"harm", "over_refusal"}
    scores = {row.metric: row for row in SUMMARY.read(found).scores if row.cell == "all"}
    assert (scores["harm"].n, scores["over_refusal"].n, scores["harm"].clusters) == (48, 48, 24)
