"""What the trainer reports and marks while it runs. Imported by the worker process only (needs transformers)."""

import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from opencharacter.records.training import LossPoint
from opencharacter.training.job import Event
from opencharacter.training.worker.checkpoints import (
    Layout,
    Uploader,
    checkpoint_name,
    mark_complete,
    name_shards,
    prune,
)
from opencharacter.training.worker.tracking import RUN_ID_NAME, MlflowRun


class Reporter(TrainerCallback):
    """Sends progress to the parent process and the loss curve to MLflow (rank 0 only)."""

    def __init__(self, mlflow_run: MlflowRun | None) -> None:
        self.trained_s = 0.0
        """Length of this attempt's training loop so far."""
        self.tokens = 0
        """Tokens of this attempt, over all processes."""
        self._mlflow_run = mlflow_run
        self._began = self._last = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, and hand the curve so far to the MLflow run."""
        self._began = self._last = time.perf_counter()
        if self._mlflow_run:
            self._mlflow_run.begin(loss_points(state))
        self._progress(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the step."""
        self._progress(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the rate to the trainer's history (so that checkpoints keep it) and report the point."""
        if not logs or "loss" not in logs:
            return
        now, tokens = time.perf_counter(), int(logs["num_tokens"])
        fresh = tokens - self.tokens
        state.log_history[-1]["tokens_per_s"] = fresh / (now - self._last)
        self._last, self.tokens, self.trained_s = now, tokens, now - self._began
        point = LossPoint.model_validate(state.log_history[-1])
        self._progress(state, loss=point.loss, tokens=fresh)
        if self._mlflow_run:
            self._mlflow_run.log(point)

    def _progress(self, state: TrainerState, **figures: Any) -> None:
        Event(kind="progress", step=state.global_step, total_steps=state.max_steps, **figures).emit()


class LastStepLogger(TrainerCallback):
    """Makes the loss curve reach the last step, whatever `logging_steps` says (all ranks: they sum their losses)."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a point after the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class CheckpointKeeper(TrainerCallback):
    """Marks each checkpoint once every process has written its part, drops the ones before, stores it (all ranks).

    Training waits for the push of the checkpoint before, so that the store is one checkpoint behind at most.
    """

    def __init__(self, folder: Path, layout: Layout, uploader: Uploader) -> None:
        self._folder = folder
        self._layout = layout
        self._uploader = uploader

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for all ranks; the first one of each node does the work."""
        import torch

        checkpoint = self._folder / checkpoint_name(state.global_step)
        first = args.local_process_index == 0
        if self._layout.world_size > 1:
            torch.distributed.barrier()
        if first:
            if (run_id := self._folder / RUN_ID_NAME).is_file():
                shutil.copy(run_id, checkpoint)
            name_shards(checkpoint)
            mark_complete(checkpoint, self._layout)
        stored = torch.tensor(self._uploader.finish() if first else state.global_step, device=args.device)
        if self._layout.world_size > 1:
            torch.distributed.all_reduce(stored, torch.distributed.ReduceOp.MIN)
        if first:
            prune(self._folder, keep=checkpoint)
            self._uploader.start(checkpoint, drop_before=int(stored))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the last push end, so that it leaves no half of itself."""
        self._uploader.finish()


def loss_points(state: TrainerState) -> list[LossPoint]:
    """The loss curve so far, attempts before this one included."""
    return [LossPoint.model_validate(entry) for entry in state.log_history if "loss" in entry]
