"""Serving: the KServe transformer, a server on this machine, a terminal chat, and versions rolled out on KServe."""

from opencharacter.serving.chat import Conversation, chat_in_terminal, printable, untrained_note
from opencharacter.serving.deploy_config import DeployConfig
from opencharacter.serving.deploy_step import deploy
from opencharacter.serving.local_server import (
    Endpoint,
    Server,
    front_endpoint_until_interrupted,
    run_transformer,
    serve,
    serve_until_interrupted,
)
from opencharacter.serving.manifest import DeployableModel, deployment_manifest, inference_service
from opencharacter.serving.rollout import (
    SMOKE_TAG,
    Rollout,
    RolloutFailed,
    RolloutRefused,
    ServedVersion,
    SmokeQuestion,
    roll_out,
    served_version,
)

__all__ = [
    "SMOKE_TAG",
    "Conversation",
    "DeployConfig",
    "DeployableModel",
    "Endpoint",
    "Rollout",
    "RolloutFailed",
    "RolloutRefused",
    "ServedVersion",
    "Server",
    "SmokeQuestion",
    "chat_in_terminal",
    "deploy",
    "deployment_manifest",
    "front_endpoint_until_interrupted",
    "inference_service",
    "printable",
    "roll_out",
    "run_transformer",
    "serve",
    "serve_until_interrupted",
    "served_version",
    "untrained_note",
]
