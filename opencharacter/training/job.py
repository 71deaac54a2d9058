"""The contract between the training processes: node arguments, the job file in, events out, the result file."""

import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.records.training import LossPoint
from opencharacter.storage.workspace import Artifact
from opencharacter.training.sft_config import SftConfig

_VARIABLES = {
    "count": "PET_NNODES",
    "rank": "PET_NODE_RANK",
    "address": "PET_MASTER_ADDR",
    "port": "PET_MASTER_PORT",
}
"""torchrun's own variables, which Kubeflow Trainer sets in each pod of a TrainJob."""


class Nodes(BaseModel):
    """By default this machine alone."""

    model_config = ConfigDict(frozen=True)

    count: int = Field(default=1, ge=1)
    rank: int = Field(default=0, ge=0)
    address: str = "127.0.0.1"
    """Host name of node 0, where the processes meet."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of node 0; 0 (any free one) will do for one node."""

    @classmethod
    def from_environment(cls) -> "Nodes":
        """The nodes that torchrun's variables describe. Raises `UserError` if they are not valid."""
        values = {field: os.environ[name] for field, name in _VARIABLES.items() if os.environ.get(name)}
        try:
            nodes = cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{', '.join(_VARIABLES.values())}: {error}") from error
        if nodes.rank >= nodes.count or (nodes.count > 1 and not nodes.port):
            raise UserError(
                f"node {nodes.rank} of {nodes.count}, meeting at {nodes.address}:{nodes.port}: no such training",
                hint=f"set {', '.join(_VARIABLES.values())}, as torchrun wants them",
            )
        return nodes

    @staticmethod
    def without_variables(environment: dict[str, str]) -> dict[str, str]:
        """The environment without torchrun's variables: it takes them for arguments that it was not given."""
        return {name: value for name, value in environment.items() if not name.startswith("PET_")}


LOG_NAME = "train.log"
"""What the workers print, in the job's folder."""

_MARK = "@opencharacter-event "


class OutOfMemory(OpenCharacterError):
    """A training process was ended because memory ran out, of the host or of a GPU."""


class NodeArguments(BaseModel):
    """What `train` was asked for, as passed to each node of a training over several."""

    config: SftConfig
    mixture: Artifact
    workspace: str
    """URI of the workspace."""
    seed: int
    experiment: str | None
    key: str
    """The output's key; a node that finds another one runs another library or reads another prompt."""


class Tracking(BaseModel):
    """What the MLflow run records of the job."""

    experiment: str | None
    dataset_uri: str
    dataset_digest: str
    tags: dict[str, str]


class Job(BaseModel):
    """Everything a worker needs."""

    config: SftConfig
    base_model: Path
    rows: Path
    """The mixture's training rows (`TrainingRow`)."""
    folder: Path
    """Where checkpoints and encoded rows live; the same in every attempt, and another one on each node."""
    workspace: str
    checkpoints: str
    """Key of this node's checkpoints in the workspace."""
    nodes: Nodes
    model: Path
    """Where the trained model is saved."""
    result: Path
    seed: int
    tracking: Tracking


class RowCounts(BaseModel):
    """What became of the mixture's rows."""

    rows: int = 0
    """Rows in an epoch."""
    cut: int = 0
    """Rows longer than `max_length`, cut there."""
    without_response: int = 0
    """Rows left out because nothing of an answer was within `max_length`."""
    forged: int = 0
    """Rows left out because a text holds marks of the chat template."""
    tokens: int = 0
    response_tokens: int = 0
    """Tokens that the loss is on."""


class Result(BaseModel):
    """What the worker found."""

    world_size: int
    steps: int
    resumed_from_step: int
    train_s: float
    tokens_per_s: float
    """Over this attempt's training loop, all processes together."""
    dtype: str
    rows: RowCounts
    losses: list[LossPoint]
    mlflow_run_id: str | None


class Event(BaseModel):
    """A line of the worker's standard output that `train` acts on."""

    kind: Literal["progress", "warning", "failure"]
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    tokens: int = 0
    """Trained on since the last event, over all processes."""
    message: str = ""
    hint: str | None = None
    exit_code: int = 1
    out_of_memory: bool = False
    """Of a failure: memory ran out, and will again unless something is changed."""

    @classmethod
    def of_failure(cls, error: OpenCharacterError) -> "Event":
        """The event that reports an error."""
        return cls(
            kind="failure",
            message=str(error),
            hint=error.hint,
            exit_code=error.exit_code,
            out_of_memory=isinstance(error, OutOfMemory),
        )

    def as_error(self) -> OpenCharacterError:
        """The error behind a failure: `UserError` for exit code 2, `OutOfMemory` where memory ran out."""
        if self.exit_code == UserError.exit_code:
            return UserError(self.message, hint=self.hint)
        return (OutOfMemory if self.out_of_memory else OpenCharacterError)(self.message, hint=self.hint)

    def emit(self) -> None:
        """Print the event. Raises `BrokenPipeError` once the reader is gone, which ends an orphaned worker."""
        # One write, so that the lines of several processes stay whole.
        sys.stdout.write(f"{_MARK}{self.model_dump_json(exclude_unset=True)}\n")
        sys.stdout.flush()

    @classmethod
    def parse(cls, line: str) -> "Event | None":
        """The event on a line of output, if there is one."""
        _, mark, payload = line.partition(_MARK)
        return cls.model_validate_json(payload) if mark else None
