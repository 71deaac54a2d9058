"""The machines that one training is spread over, and which of them this is."""

import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError

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
        """The nodes as torchrun's variables tell. Raises `UserError` if they are no such thing."""
        told = {field: os.environ[name] for field, name in _VARIABLES.items() if os.environ.get(name)}
        try:
            nodes = cls.model_validate(told)
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
