"""The training step: base model and mixture in, a model folder out."""

from pathlib import Path

from opencharacter import library
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest, tree_digest
from opencharacter.storage.kinds import mixture_template
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.training.job import NodeArguments, Nodes
from opencharacter.training.node_training import train_here
from opencharacter.training.sft_config import SftConfig
from opencharacter.training.trainjob import TrainJobSettings, run_train_job

# How the work is spread and saved; the result is the same up to the order of sums.
_NOT_DECIDING = {"processes", "zero_stage", "per_device_batch_size", "gradient_checkpointing", "save_steps"}


def train(
    config: SftConfig, mixture: Artifact, *, workspace: Workspace, seed: int, experiment: str | None = None
) -> Artifact:
    """Fine-tune the base model on the mixture's training rows. An interrupted training goes on where it was saved.

    The output (kind `model`) holds `model/` (safetensors, tokenizer with its chat template, and in `opencharacter/`
    the system prompt's template and the lineage), `loss.jsonl` (a `LossPoint` a line) and `README.md` (model card).
    With `MLFLOW_TRACKING_URI` set, one MLflow run of `experiment` follows the training over all attempts.

    It trains on this machine, or, where `OPENCHARACTER_TRAINJOB` holds the settings of one, in a Kubeflow TrainJob.

    Raises `UserError` for a mixture or base model that can't be trained with, more processes than GPUs, or checkpoints
    of another number of processes; `OpenCharacterError` if a worker fails, memory or disk runs out, or MLflow can't be
    reached.
    """
    key = output_key(config, mixture, seed)
    if found := workspace.lookup("model", key):
        return found
    task = NodeArguments(
        config=config,
        mixture=mixture,
        workspace=workspace.uri,
        seed=seed,
        experiment=experiment,
        key=key,
    )
    if settings := TrainJobSettings.from_environment():
        if not workspace.uri.startswith(OBJECT_SCHEME):
            raise UserError(
                f"training over several nodes needs a workspace that all of them reach, and '{workspace.uri}' is local",
                hint="give the run a workspace in an object store: --workspace s3://BUCKET/PREFIX",
            )
        run_train_job(settings, task, committed=lambda: workspace.lookup("model", key) is not None)
        ref = workspace.lookup("model", key)
    else:
        ref = train_here(task, workspace, Nodes())
    if ref is None:
        raise OpenCharacterError(
            f"the training ended well, but {workspace.uri} has no model {key[:12]}",
            hint="was it deleted meanwhile? Run again",
        )
    return ref


def output_key(config: SftConfig, mixture: Artifact, seed: int) -> str:
    """Digest of everything that decides the model."""
    base = Path(config.base_model)
    return digest(
        {
            "step": "train",
            "config": config.model_dump(exclude=_NOT_DECIDING),
            "base_model": tree_digest(base) if base.is_dir() else config.base_model,
            "mixture": mixture.digest,
            "prompt": mixture_template(mixture).hash,
            "seed": seed,
            "library": library.fingerprint(),
        }
    )
