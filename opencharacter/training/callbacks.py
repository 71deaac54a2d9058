"""What the trainer reports and marks while it runs. Imported by the worker process only (needs transformers)."""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from opencharacter.training.checkpoints import Layout, mark_complete, prune
from opencharacter.training.job import Event, LossPoint
from opencharacter.training.tracking import MlflowRun


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
        """Start the clock."""
        self._began = self._last = time.perf_counter()
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


class CheckpointMarker(TrainerCallback):
    """Marks each checkpoint once every process has written its part, then drops the ones before (all ranks)."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder = folder
        self._layout = layout

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for all ranks; the first one writes the mark."""
        import torch

        if self._layout.world_size > 1:
            torch.distributed.barrier()
        if args.process_index == 0:
            checkpoint = self._folder / f"checkpoint-{state.global_step}"
            mark_complete(checkpoint, self._layout)
            prune(self._folder, keep=checkpoint)


def loss_points(state: TrainerState) -> list[LossPoint]:
    """The loss curve so far, attempts before this one included."""
    return [LossPoint.model_validate(entry) for entry in state.log_history if "loss" in entry]
