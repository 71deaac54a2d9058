"""Evaluations as inspect_ai's logs: their form is the one that inspect_ai 0.3.285 has read."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.score_rows import make_evaluation_of, score_rows
from support.small_run import answer

from opencharacter.cli import main
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.workspace import Workspace

# What inspect_ai's EvalLog, EvalSpec and EvalSample require.
REQUIRED = {"version", "status", "eval", "results", "samples"}
SPEC = {"created", "task", "dataset", "model", "config"}
SAMPLE = {"id", "epoch", "input", "target"}


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, dict[str, Any]]:
    workspace = Workspace(tmp_path / "work" / "workspace")
    rows = score_rows("b", [2.0, 1.0]) + score_rows("c", [1.5, "not_finite"])
    rows += score_rows("c", [4.0, 2.0], metric="voice")
    made = make_evaluation_of(workspace, rows, {"base": "b", "challenger": "c"})
    write_jsonl(
        made.path / "answers.jsonl.zst", [answer("c", "held_out_both-q0", "c", "Aye, gladly.") | {"model": "c"}]
    )
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "export", "--workdir", str(tmp_path / "work"), "--output", str(tmp_path / "logs")])
    assert ended.value.code == 0
    written = [json.loads(path.read_text()) for path in (tmp_path / "logs").glob("*.json")]
    return {log["eval"]["model"]: log for log in written}


def test_each_model_has_a_log_of_inspect_s_form(logs: dict[str, dict[str, Any]]) -> None:
    assert logs.keys() == {"base", "challenger"}
    for log in logs.values():
        assert log.keys() >= REQUIRED
        assert log["eval"].keys() >= SPEC
        assert all(sample.keys() >= SAMPLE for sample in log["samples"])
        assert log["eval"]["task"] == "grid"


def test_answers_scores_and_means_are_in_it(logs: dict[str, dict[str, Any]]) -> None:
    log = logs["challenger"]
    means = {score["name"]: score["metrics"]["mean"]["value"] for score in log["results"]["scores"]}
    assert means == {"loss": 1.5, "voice": 3.0}
    first, second = sorted(log["samples"], key=lambda sample: sample["id"])
    assert first["output"]["choices"][0]["message"]["content"] == "Aye, gladly."
    assert {name: score["value"] for name, score in first["scores"].items()} == {"loss": 1.5, "voice": 4.0}
    assert "output" not in second, "nothing was asked"
    assert second["metadata"]["unscored"] == {"loss": "not_finite"}


def test_a_suite_that_was_not_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path / "workspace")
    make_evaluation_of(workspace, score_rows("b", [2.0]) + score_rows("c", [1.0]), {"base": "b", "challenger": "c"})
    with pytest.raises(SystemExit) as ended:
        main(
            ["evaluate", "export", "--workspace", workspace.uri, "--output", str(tmp_path / "logs"), "--suite", "safe"]
        )
    assert ended.value.code == 2
    assert "--suite safe: not measured" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
