"""The training step: base model and mixture in, a model folder out."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from opencharacter import library
from opencharacter.engines import localize_model
from opencharacter.engines.hardware import visible_gpus
from opencharacter.errors import UserError
from opencharacter.hashing import digest, tree_digest
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.workspace import Draft, Ref, Workspace
from opencharacter.templates import Template, load_template
from opencharacter.training.card import Lineage, model_card
from opencharacter.training.checkpoints import Layout, newest, prune
from opencharacter.training.config import SftConfig
from opencharacter.training.job import Job, Result, Tracking
from opencharacter.training.launch import exclusive, run_workers

PROMPT = "system.md"
"""The prompt template that travels inside the model folder (DESIGN decision 6)."""

# How the work is spread and saved; the result is the same up to the order of sums.
_NOT_DECIDING = {"processes", "zero_stage", "per_device_batch_size", "gradient_checkpointing", "save_steps"}


def train(config: SftConfig, mixture: Ref, *, workspace: Workspace, seed: int, experiment: str | None = None) -> Ref:
    """Fine-tune the base model on the mixture's training rows. An interrupted training goes on where it was saved.

    The output (kind `model`) holds `model/` (safetensors, tokenizer with its chat template, and in `opencharacter/`
    the system prompt's template and the lineage), `loss.jsonl` (a `LossPoint` a line) and `README.md` (model card).
    With `MLFLOW_TRACKING_URI` set, one MLflow run of `experiment` follows the training over all attempts.

    Raises `UserError` for a mixture or base model that can't be trained with, more processes than GPUs, or checkpoints
    of another number of processes; `OpenCharacterError` if a worker fails, memory or disk runs out, or MLflow can't be
    reached.
    """
    rows = mixture.path / "train.jsonl.zst"
    if not rows.is_file():
        raise UserError(f"{mixture.uri} is no mixture: it has no {rows.name}", hint="run the mix step again")
    gpus = visible_gpus()
    if 0 < gpus < config.processes:
        raise UserError(f"{config.processes} training processes are asked for, but {gpus} GPU(s) are here")
    prompt = load_template(PROMPT)
    key = _key(config, mixture, prompt, seed)
    if found := workspace.lookup("model", key):
        return found
    folder = workspace.folder("checkpoints", key)
    with exclusive(folder) as lock:
        if found := workspace.lookup("model", key):
            return found
        began = time.monotonic()
        resume_from = newest(folder, Layout(world_size=config.processes, zero_stage=config.deepspeed_stage))
        prune(folder, keep=resume_from)
        lineage = Lineage(
            base_model=config.base_model,
            mixture_uri=mixture.uri,
            mixture_digest=mixture.digest,
            licences=_licences(mixture),
            prompt_hash=prompt.hash,
            library=library.fingerprint(),
            seed=seed,
            config=config,
        )
        with workspace.produce("model", key) as draft:
            job = Job(
                config=config,
                base_model=localize_model(config.base_model),
                rows=rows,
                folder=folder,
                resume_from=resume_from,
                model=draft.path / "model",
                result=draft.path / "result.json",
                seed=seed,
                tracking=Tracking(
                    experiment=experiment,
                    dataset_uri=mixture.uri,
                    dataset_digest=mixture.digest,
                    tags={"dataset_digest": mixture.digest, "prompt_hash": prompt.hash, "output_key": key},
                ),
            )
            result = run_workers(job, lock)
            job.result.unlink()
            _describe(draft, result, lineage, prompt)
            draft.stats |= {"wall_s": round(time.monotonic() - began, 3)}
        shutil.rmtree(folder)
    ref = workspace.lookup("model", key)
    assert ref is not None
    return ref


def _key(config: SftConfig, mixture: Ref, prompt: Template, seed: int) -> str:
    base = Path(config.base_model)
    return digest(
        {
            "step": "train",
            "config": config.model_dump(exclude=_NOT_DECIDING),
            "base_model": tree_digest(base) if base.is_dir() else config.base_model,
            "mixture": mixture.digest,
            "prompt": prompt.hash,
            "seed": seed,
            "library": library.fingerprint(),
        }
    )


def _licences(mixture: Ref) -> dict[str, int]:
    statistics: dict[str, Any] = json.loads((mixture.path / "statistics.json").read_text(encoding="utf-8"))
    return dict(statistics.get("licences", {}))


def _describe(draft: Draft, result: Result, lineage: Lineage, prompt: Template) -> None:
    inside = draft.path / "model" / "opencharacter"
    inside.mkdir()
    (inside / PROMPT).write_text(prompt.text, encoding="utf-8")
    (inside / "model.json").write_text(lineage.model_dump_json(indent=2), encoding="utf-8")
    write_jsonl(draft.path / "loss.jsonl", result.losses)
    (draft.path / "README.md").write_text(model_card(lineage, result), encoding="utf-8")
    draft.counts |= result.rows.model_dump()
    draft.stats |= result.model_dump(exclude={"rows", "losses"}) | {"final_loss": result.losses[-1].loss}
