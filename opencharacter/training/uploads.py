"""Copies of checkpoints in the object store, made while training goes on. Used by one process of each node."""

import threading
from pathlib import Path

from opencharacter.storage.checkpoints import CheckpointStore
from opencharacter.training.checkpoints import checkpoint_name, step_of, steps_among
from opencharacter.training.job import Event


class Uploader:
    """Pushes one checkpoint at a time in a thread of its own. With a local workspace there is nothing to do."""

    def __init__(self, checkpoints: CheckpointStore) -> None:
        self._checkpoints = checkpoints
        self._thread: threading.Thread | None = None
        self._stored = 0
        self._failure: Exception | None = None

    def start(self, checkpoint: Path, *, drop_before: int) -> None:
        """Push a complete checkpoint, after dropping those of steps before `drop_before`, which nobody needs."""
        self._thread = threading.Thread(target=self._push, args=(checkpoint.name, drop_before), name="upload")
        self._thread.start()

    def finish(self) -> int:
        """Wait for the push under way. Gives the newest step that the store holds of this attempt, 0 for none."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._failure:
            message = f"a checkpoint could not be stored, and training goes on: {self._failure}"
            Event(kind="warning", message=message).emit()
            self._failure = None
        return self._stored

    def _push(self, name: str, drop_before: int) -> None:
        try:
            for step in steps_among(self._checkpoints.names()):
                if step < drop_before:
                    self._checkpoints.remove(checkpoint_name(step))
            self._checkpoints.upload(name)
            self._stored = step_of(name) or 0
        except Exception as error:  # whatever it is: the checkpoint is safe on this disk, and training goes on
            self._failure = error
