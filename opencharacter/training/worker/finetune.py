"""The training itself, with TRL's `SFTTrainer`. Runs in every worker process."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.workspace import Workspace
from opencharacter.system.hardware import usable_cores
from opencharacter.tracking import URI_VARIABLE
from opencharacter.training.job import Event, Job, Result
from opencharacter.training.worker.base_model import load_base, save_tuned
from opencharacter.training.worker.callbacks import CheckpointKeeper, LastStepLogger, Reporter, loss_points
from opencharacter.training.worker.checkpoints import (
    Layout,
    Uploader,
    gather_in_group,
    select_resume_checkpoint,
    step_of,
)
from opencharacter.training.worker.dataset import encode_rows, load_encoded
from opencharacter.training.worker.tracking import RUN_ID_NAME, MlflowRun
from opencharacter.training.worker.trainer_settings import Precision, lora_config, trainer_settings

if TYPE_CHECKING:
    from trl import SFTConfig


def finetune(job: Job) -> None:
    """Train, save the model and write the result file.

    Raises `UserError` for a base model or rows that can't be trained on as asked, `OpenCharacterError` if the world
    size is not the one asked for or MLflow is set but can't be reached.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    precision = Precision.choose(job.config, on_cpu=on_cpu)
    settings = trainer_settings(job, precision, on_cpu=on_cpu)
    # `accelerate launch` can silently start fewer processes than requested.
    if settings.world_size != job.config.processes:
        raise OpenCharacterError(
            f"training started as {settings.world_size} process(es), not as the {job.config.processes} of its settings"
        )
    if job.config.deepspeed_stage:
        import deepspeed

        # On CPU transformers does not make this call, and without it ZeRO-3 takes each process for a world of its own.
        deepspeed.init_distributed()
    first = settings.process_index == 0
    if first and on_cpu and job.config.dtype != "float32":
        Event(kind="warning", message="no GPU here: training in float32, bfloat16 is many times slower").emit()
    checkpoints = Workspace(job.workspace).checkpoints("checkpoints", job.checkpoints)
    resume_from = select_resume_checkpoint(
        job.folder,
        checkpoints,
        _layout(job),
        fetches=settings.local_process_index == 0,
        gather=gather_in_group,
    )
    if first and resume_from and (resume_from / RUN_ID_NAME).is_file():
        shutil.copy(resume_from / RUN_ID_NAME, job.folder)
    mlflow_run = MlflowRun(job) if first and os.environ.get(URI_VARIABLE) else None
    try:
        result = _train(job, settings, precision, mlflow_run, resume_from, Uploader(checkpoints))
    except BaseException:
        if mlflow_run:
            mlflow_run.fail()
        raise
    if result is None:
        return
    if mlflow_run:
        mlflow_run.finish(result)
    job.result.write_text(result.model_dump_json(), encoding="utf-8")


def _layout(job: Job) -> Layout:
    return Layout(world_size=job.config.processes, zero_stage=job.config.deepspeed_stage, nodes=job.nodes.count)


def _train(
    job: Job,
    settings: "SFTConfig",
    precision: Precision,
    mlflow_run: MlflowRun | None,
    resume_from: Path | None,
    uploader: Uploader,
) -> Result | None:
    """Train and save; the first process gets the result."""
    from opencharacter.training.worker.trainer import CharacterTrainer

    model, tokenizer = load_base(job, precision)
    encoded = job.folder / "rows"
    with settings.main_process_first(desc="encoding rows"):
        encode_rows(
            job.rows,
            tokenizer,
            encoded,
            max_length=job.config.max_length,
            processes=len(usable_cores()),
        )
    rows, counts = load_encoded(encoded)
    reporter = Reporter(mlflow_run)
    trainer = CharacterTrainer(
        model=model,
        args=settings,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora_config(job.config),
        floor=job.config.min_learning_rate / job.config.learning_rate,
        callbacks=[
            LastStepLogger(),
            CheckpointKeeper(job.folder, _layout(job), uploader),
            *([reporter] if settings.process_index == 0 else []),
        ],
    )
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    save_tuned(trainer, job, precision)
    if settings.process_index != 0:
        return None
    return Result(
        world_size=settings.world_size,
        steps=trainer.state.global_step,
        resumed_from_step=(step_of(resume_from.name) or 0) if resume_from else 0,
        train_s=reporter.trained_s,
        tokens_per_s=reporter.tokens / reporter.trained_s if reporter.trained_s else 0.0,
        dtype=precision.saved,
        rows=counts,
        losses=loss_points(trainer.state),
        mlflow_run_id=mlflow_run.id if mlflow_run else None,
    )
