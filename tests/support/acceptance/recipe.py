"""The run that the acceptance suite submits, as small as it can be, and the cluster file that goes with it."""

from pathlib import Path
from typing import Any

import yaml
from support.acceptance.suite import Suite

SHARDS = 2
_SYNTHESIS = {"ingest", "generate-profiles", "collect-profiles", "generate-dialogues", "collect-dialogues"}
HEAVY_STEPS = _SYNTHESIS | {"mix", "sft"}
"""What a second submission must not do again. What follows `get-champion` may: the first run changed the champion."""

_SIZES: dict[str, dict[str, Any]] = {
    "generate-profiles": {"cpu": "1", "memory": "5Gi", "shm": "256Mi"},
    "generate-dialogues": {"cpu": "1", "memory": "5Gi", "shm": "256Mi"},
    "mix": {"cpu": "250m", "memory": "2Gi"},
    "sft": {"cpu": "2", "memory": "12Gi", "shm": "256Mi"},
    "evaluate": {"cpu": "1", "memory": "5Gi", "shm": "256Mi"},
}


def run_settings(model: str, *, name: str, service: str) -> list[str]:
    """`KEY=VALUE` settings over the preset `demo`: few rows, two training processes under DeepSpeed, no judge.

    The gate asks for little, so that the run goes on to promotion and deployment.
    """
    return [
        f"name={name}",
        f"shards={SHARDS}",
        "inputs.personas.0.limit=14",
        "inputs.corpora.0.n=1",
        f"engines.teacher.weights={model}",
        f"engines.judge.weights={model}",
        "profiles.sampling.max_tokens=256",
        "responses.rewrite_sampling.max_tokens=160",
        "responses.generate_sampling.max_tokens=64",
        "mix.held_out.characters=0.25",
        "mix.held_out.sessions=0.2",
        f"sft.base_model={model}",
        "sft.processes=2",
        "sft.zero_stage=2",
        "sft.learning_rate=3.0e-5",  # 1e-4 and 2e-4 were tried on these few rows: no better than the base model
        "sft.min_learning_rate=3.0e-6",
        "sft.global_batch_size=4",
        "sft.max_steps=12",
        "evaluate.judge=null",
        "evaluate.rows_per_cell=8",
        "evaluate.train_rows=2",
        "gate.min_questions=2",
        "gate.min_clusters=2",
        "gate.confidence=0.51",
        "gate.guards.skip=[new_characters, loss_alone]",
        f"registry.model_name={service}",
        f"registry.experiment={service}",
        f"deploy.service_name={service}",
        "deploy.apply=true",
        "deploy.gpus=0",
        "deploy.cpu=1",
        "deploy.memory=5Gi",
        "deploy.max_model_len=1024",
        "deploy.ready_seconds=420",
    ]


def cluster_file(
    suite: Suite,
    name: str,
    *,
    mlflow: str,
    secret: str,
    endpoint: str | None,
    steps: dict[str, dict[str, Any]] | None = None,
    **keys: Any,
) -> Path:
    """The shipped cluster `cpu` with our namespace, images and Secret, and `steps` and `keys` over it."""
    shipped = yaml.safe_load(suite.opencharacter("cluster", "show", "cpu").expect().out)
    shipped |= {"name": name, "namespace": suite.namespace, "images": suite.images}
    shipped["env"] |= {"MLFLOW_TRACKING_URI": mlflow, "AWS_DEFAULT_REGION": suite.region}
    if endpoint:
        shipped["env"]["AWS_ENDPOINT_URL"] = endpoint
    keys_of_store = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    shipped["secrets"] = [{"secret": secret, "keys": {key: key for key in keys_of_store}}]
    shipped["defaults"] |= {"cpu": "200m", "memory": "1Gi"}
    for step in {*_SIZES, *(steps or {})}:
        shipped["steps"][step] = {
            **(shipped["steps"].get(step) or {}),
            **_SIZES.get(step, {}),
            **(steps or {}).get(step, {}),
        }
    return suite.write(f"{name}.yaml", shipped | keys)
