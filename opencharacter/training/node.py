"""One node of a training over several: `python -m opencharacter.training.node ARGUMENTS`, in each pod of a TrainJob.

torchrun's variables (`PET_NNODES`, `PET_NODE_RANK`, `PET_MASTER_ADDR`, `PET_MASTER_PORT`) say which node this is.
What the workers print goes to standard output, events included: the sft step follows it through the pod's log.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.storage.workspace import Workspace
from opencharacter.training.job import Event, NodeArguments, Nodes
from opencharacter.training.node_training import train_here
from opencharacter.training.sft import output_key


def main(arguments: list[str]) -> int:
    """Train this node's part; the first node commits the model into the workspace. Gives the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        task = _parse(arguments)
        workspace = Workspace(task.workspace)
        if workspace.lookup("model", task.key) is None:
            train_here(task, workspace, Nodes.from_environment(), relay=True)
    except OpenCharacterError as error:
        Event.of_failure(error).emit()
        return error.exit_code
    return 0


def _parse(arguments: list[str]) -> NodeArguments:
    try:
        task = NodeArguments.model_validate_json(arguments[0])
    except (IndexError, ValidationError) as error:
        raise UserError(f"expected one argument, NodeArguments as JSON: {error}") from error
    if output_key(task.config, task.mixture, task.seed) != task.key:
        raise UserError(
            "this image holds another version of the library, or of the prompts, than the step that made the job",
            hint="give all steps images of one version, and the same prompts ConfigMap",
        )
    return task


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End by an exception, so that the workers are ended too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
