"""How a step's pod has ended, kept in the workspace: Kubernetes deletes the pod, and its log with it."""

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from opencharacter.storage.workspace import Workspace

_POD = "KFP_POD_NAME"
"""KFP sets it in each step's pod, and the API gives the same name for the run's tasks."""
_PATIENCE_S = 20


@dataclass(frozen=True)
class Ending:
    """What a step has made, or why it has failed."""

    step: str
    error: str | None = None
    hint: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    """Keys of what it made in the workspace, by kind."""


def keep_ending(ending: Ending, workspace: Workspace) -> None:
    """Keep it, if this process is a step's pod. An error in that is printed and does not fail the step."""
    pod = os.environ.get(_POD)
    if not pod:
        return
    text = json.dumps(asdict(ending), ensure_ascii=False)

    def write() -> None:
        try:
            workspace.write_log(_name(pod), text)
        except Exception as error:
            print(f"how the step ended could not be kept in the workspace: {error}", flush=True)

    # A store that is away must not hold the pod, and its GPU: the client tries for minutes.
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(_PATIENCE_S)


def read_ending(pod: str, workspace: Workspace) -> Ending | None:
    """How the step in that pod ended; None if nothing was kept. Raises `OpenCharacterError` as the workspace does."""
    text = workspace.read_log(_name(pod))
    try:
        fields: Any = json.loads(text)
        return Ending(**fields)
    except (ValueError, TypeError):
        return None


def _name(pod: str) -> str:
    return f"steps/{pod}.json"
