import json
import shutil
from pathlib import Path

import pytest
from support.small_suite import write_suite

from opencharacter.characters import PromptName, load_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation import EvaluateConfig, GateConfig, JudgeConfig, ScoreRow, Summary, evaluate, gate
from opencharacter.evaluation.choosing import suite_version
from opencharacter.evaluation.step import evaluate_suite
from opencharacter.hashing import tree_digest
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.workspace import Workspace


def test_a_row_per_question_and_model_in_every_cell(config, mixture, workspace, tiny_llama, other_tiny_llama) -> None:
    models = {"base": str(tiny_llama), "challenger": str(other_tiny_llama)}
    ref = evaluate(config, mixture, models=models, workspace=workspace, seed=3)
    rows = list(read_models(ref.path / "rows.jsonl.zst", ScoreRow))
    keys = {(row.question_id, row.model, row.metric) for row in rows}
    assert len(keys) == len(rows) == 2 * 2 * ref.counts["questions"] == ref.counts["ok"]
    assert {row.model for row in rows} == {tree_digest(tiny_llama), tree_digest(other_tiny_llama)}

    summary = Summary.model_validate_json((ref.path / "summary.json").read_bytes())
    assert json.loads((ref.path / "smoke_question.json").read_text()).keys() == {"character", "question"}
    means = {(score.model, score.cell, score.metric): score.mean for score in summary.scores}
    wanted = [
        row.score
        for row in rows
        if row.metric == "loss" and row.cell == "train" and row.model == summary.models["base"]
    ]
    assert means["base", "train", "loss"] == pytest.approx(sum(wanted) / len(wanted))
    assert len(means) == 2 * 2 * 5
    assert ref.stats["wall_s"] > 0
    assert gate(GateConfig(), [ref]).n == 12


def test_the_same_call_again_gives_the_same_output(config, mixture, workspace, tiny_llama, other_tiny_llama) -> None:
    models = {"base": str(tiny_llama), "challenger": str(other_tiny_llama)}
    first = evaluate(config, mixture, models=models, workspace=workspace, seed=3)
    assert evaluate(config, mixture, models=models, workspace=workspace, seed=3) == first


def test_weights_under_two_roles_are_measured_once(
    config, mixture, workspace, tiny_llama, other_tiny_llama, tmp_path
) -> None:
    champion = shutil.copytree(other_tiny_llama, tmp_path / "champion")
    models = {"base": str(tiny_llama), "challenger": str(other_tiny_llama), "champion": str(champion)}
    ref = evaluate(config, mixture, models=models, workspace=workspace, seed=3)
    assert ref.counts["ok"] == 2 * 2 * ref.counts["questions"]
    summary = json.loads((ref.path / "summary.json").read_text())
    assert summary["models"]["champion"] == summary["models"]["challenger"]
    assert gate(GateConfig(), [ref]).passed


@pytest.mark.parametrize(("prompt", "same"), [("immersive", True), ("paper", False)])
def test_a_model_is_asked_in_the_system_prompt_that_it_was_trained_with(
    config, mixture, workspace, tiny_llama, other_tiny_llama, tmp_path, prompt: PromptName, same: bool
) -> None:
    champion = shutil.copytree(other_tiny_llama, tmp_path / "champion")
    (champion / "opencharacter").mkdir()
    (champion / "opencharacter" / "system.md").write_text(load_prompt(prompt).text)
    models = {"base": str(tiny_llama), "challenger": str(other_tiny_llama), "champion": str(champion)}
    ref = evaluate(config, mixture, models=models, workspace=workspace, seed=3)
    rows = list(read_models(ref.path / "rows.jsonl.zst", ScoreRow))
    of_model = {
        folder: {(row.question_id, row.metric): row.score for row in rows if row.model == tree_digest(folder)}
        for folder in (other_tiny_llama, champion)
    }
    # The weights are the same: only another prompt makes another loss.
    assert of_model[other_tiny_llama].keys() == of_model[champion].keys()
    assert (of_model[other_tiny_llama] == of_model[champion]) == same


def test_wrong_arguments_are_named(config, mixture, workspace, tiny_llama) -> None:
    folder = str(tiny_llama)
    with pytest.raises(UserError, match=r"expected base, challenger .*; got \['base', 'tuned'\]"):
        evaluate(config, mixture, models={"base": folder, "tuned": folder}, workspace=workspace, seed=1)
    judged = EvaluateConfig(judge=JudgeConfig())
    with pytest.raises(UserError, match=r"evaluate\.judge is set"):
        evaluate(judged, mixture, models={"base": folder, "challenger": folder}, workspace=workspace, seed=1)
    assert workspace.list("evaluation") == []


def test_a_suite_that_changed_since_the_run_was_made_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "own")
    version = suite_version(str(folder))
    (folder / "voice.md").write_text("Voice: is it loud?")
    config = EvaluateConfig(suites=[str(folder)])
    with pytest.raises(UserError, match=r"suite small: its digest is .* the run was made for"):
        evaluate_suite(str(folder), config, models={}, judges={}, version=version, workspace=workspace, seed=1)
