"""One training process: `accelerate launch -m opencharacter.training.worker JOB.json`."""

import errno
import os
import sys
import warnings
from pathlib import Path

from opencharacter.errors import OpenCharacterError
from opencharacter.training.job import LOG_NAME, Event, Job, OutOfMemory

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
_OUT_OF_DISK = ("no space left on device", "disk quota exceeded", "pytorchstreamwriter failed writing")


def main(arguments: list[str]) -> int:
    """Run the job. A failure goes to the parent as an event, its traceback to the log."""
    job = Job.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        from opencharacter.training.worker.finetune import finetune

        finetune(job)
    except Exception as error:
        known = explain(error, job)
        Event.of_failure(known).emit()
        raise
    return 0


def explain(error: BaseException, job: Job) -> OpenCharacterError:
    """The failure in words that say what to do, where it is a known one."""
    if isinstance(error, OpenCharacterError):
        return error
    text = f"{type(error).__name__}: {error}".lower()
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return OutOfMemory(
            f"out of memory in training: {error}",
            hint="lower max_length or per_device_batch_size, set gradient_checkpointing, use lora, or more processes"
            " with zero_stage 3",
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(sign in text for sign in _OUT_OF_DISK):
        return OpenCharacterError(
            f"the disk is full ({job.folder} or {job.model}): {error}",
            hint="free some space and run again: training goes on from the last complete checkpoint",
        )
    # A node's own disk goes with its pod; whoever follows its log keeps that.
    hint = f"the log is {job.folder / LOG_NAME}" if job.nodes.count == 1 else None
    return OpenCharacterError(f"training failed: {type(error).__name__}: {error}", hint=hint)


if __name__ == "__main__":
    warnings.simplefilter("ignore", FutureWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main(sys.argv[1:]))
