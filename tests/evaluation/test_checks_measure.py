"""The measure `checks`: the share of an item's checks that pass."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM

from opencharacter.errors import UserError
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage.kinds import SCORES
from opencharacter.storage.workspace import Workspace

CHECKS = [{"kind": "words", "max": 3}, {"kind": "case", "value": "lower"}, {"kind": "ends_with", "text": "!"}]


def write_suite(folder: Path, items: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "suite.yaml").write_text(
        "name: small\nlicense: CC0-1.0\nitems: {path: items.jsonl}\ncharacter: persona\nmeasures: [{kind: checks}]\n"
    )
    return folder


def item(name: str, checks: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"id": name, "turns": [{"role": "user", "content": f"Say it, {name}."}], "checks": checks, **fields}


def test_no_judge_is_needed_and_the_score_is_a_share(fake_llm: FakeLLM, workspace: Workspace, tmp_path: Path) -> None:
    items = [
        item("good", CHECKS, character="A baker."),
        item("half", CHECKS[:2], task="plain"),
        item("silent", CHECKS),
    ]
    said = {"good": "fine, fine!", "half": "Good", "silent": ""}
    fake_llm._answer = lambda request: next(
        text for name, text in said.items() if name in request["messages"][-1]["content"]
    )
    subject = load_subject("challenger", f"{fake_llm.base_url}#model-a")
    suite = load_suite(write_suite(tmp_path / "small", items))
    found = run_suites([suite], [subject], workspace=workspace, seed=1)["small"]
    rows = {row.question_id: row for row in SCORES.read(found)}
    assert {name: (row.metric, row.status, row.score, row.note) for name, row in rows.items()} == {
        "good": ("checks", "ok", 1, None),
        "half": ("plain", "ok", 0.5, "failed: case"),
        "silent": ("checks", "no_answer", None, "empty_answer"),
    }


def test_a_wrong_check_is_found_when_the_suite_is_loaded(tmp_path: Path) -> None:
    items = [item("good", CHECKS), item("wrong", [CHECKS[0], {"kind": "words", "most": 3}])]
    with pytest.raises(UserError, match=r"items.jsonl:2: checks\[1\] \(words\)"):
        load_suite(write_suite(tmp_path / "small", items))
