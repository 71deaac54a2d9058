"""lm-eval's samples become scores, and its command is the one that a real lm-eval 0.4.13 was run with.

The files of `lm_eval/` were written by that run, of two tasks of our own on a server that answered `Paris`, `Lima.` and
`Mombasa`: `capitals` has two filters, `rules` a metric of parts and one of which less is better.
"""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.evaluation.lm_eval import LmEvalSettings, read_lm_eval, run_lm_eval

RECORDED = Path(__file__).parent / "lm_eval"
ENDPOINT = EngineConfig(model="bard", base_url="http://127.0.0.1:9/v1/", api_key_env="BARD_KEY", concurrency=3)


def test_each_item_has_a_score_by_task_metric_and_filter() -> None:
    read = read_lm_eval(RECORDED, model="m")
    scores: dict[str, list[float | None]] = {}
    for row in read.scores:
        scores.setdefault(row.metric, []).append(row.score)
    assert scores == {
        "capitals/exact_match,strict": [1, 0, 0],
        "capitals/exact_match,letters": [1, 1, 0],
        "rules/all_rules": [1, 1, 0],
        "rules/each_rule": [1, 1, 0.5],
    }
    assert {(row.suite, row.model, row.session_id == row.question_id) for row in read.scores} == {
        ("lm-eval", "m", True)
    }
    # lm-eval's own means.
    results = json.loads(next(RECORDED.glob("results_*.json")).read_text())["results"]
    assert results["capitals"]["exact_match,letters"] == pytest.approx(2 / 3)
    assert results["rules"]["each_rule,none"] == pytest.approx(sum(filter(None, scores["rules/each_rule"])) / 3)


def test_each_answer_is_kept_once_with_its_question() -> None:
    answers = read_lm_eval(RECORDED, model="m").answers
    assert len(answers) == 6
    found = {row.question_id: (row.conversation[-1].content, row.answer) for row in answers}
    assert found["capitals/1"] == ("What is the capital of Peru? Answer with its name only.", "Lima.")


def test_the_newest_results_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no results of lm-eval"):
        read_lm_eval(tmp_path, model="m")
    for path in RECORDED.iterdir():
        shutil.copy(path, tmp_path)
        newer = path.name.replace("2026-11-29", "2026-11-30")
        (tmp_path / newer).write_text(path.read_text().replace('"exact_match": 0.0', '"exact_match": 1.0'))
    scores = [row.score for row in read_lm_eval(tmp_path, model="m").scores if row.metric.startswith("capitals")]
    assert scores == [1] * 6
    broken = next(tmp_path.glob("samples_rules_2026-11-30*"))
    broken.write_text(broken.read_text().splitlines()[0] + "\n{}\n")
    with pytest.raises(UserError, match=rf"{broken.name}:2: no sample of lm-eval"):
        read_lm_eval(tmp_path, model="m")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that writes down how it was called, and fails where it is asked for the task `broken`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "lm-eval"
    path.write_text(
        f'#!/bin/sh\necho "$OPENAI_API_KEY $*" > {tmp_path}/called\n'
        'case "$*" in *broken*) echo "Tasks not found: $OPENAI_API_KEY"; exit 1;; esac\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BARD_KEY", "sk-0123456789")
    return tmp_path / "called"


def test_the_endpoint_and_the_tasks_reach_lm_eval(program: Path, tmp_path: Path) -> None:
    run_lm_eval(LmEvalSettings(("ifeval", "gsm8k"), limit=5, include=Path("/own"), seed=3), ENDPOINT, tmp_path / "out")
    key, *words = program.read_text().split()
    assert key == "sk-0123456789"
    called = " ".join(words)
    endpoint = "base_url=http://127.0.0.1:9/v1/chat/completions,model=bard,num_concurrent=3,max_retries="
    assert called.startswith(f"run --model local-chat-completions --model_args {endpoint}")
    for option in ("--tasks ifeval,gsm8k", "--log_samples", "--limit 5", "--include_path /own", "--seed 3"):
        assert option in called


def test_what_lm_eval_says_is_told_without_the_key(program: Path, tmp_path: Path) -> None:
    with pytest.raises(OpenCharacterError, match="Tasks not found") as failed:
        run_lm_eval(LmEvalSettings(("broken",)), ENDPOINT, tmp_path / "out")
    assert "sk-0123456789" not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"base_url": None, "weights": "w"}, "measures endpoints"), ({"model": "a,b=c"}, "no model name with ','")],
)
def test_what_it_cannot_measure_is_refused(program: Path, tmp_path: Path, change: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        run_lm_eval(LmEvalSettings(("ifeval",)), ENDPOINT.model_copy(update=change), tmp_path / "out")
    assert not program.exists()


def test_without_lm_eval_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not installed") as refused:
        run_lm_eval(LmEvalSettings(("ifeval",)), ENDPOINT, tmp_path / "out")
    assert "opencharacter[lm-eval]" in (refused.value.hint or "")
