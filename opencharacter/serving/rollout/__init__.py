"""Bringing a version of a model into service on KServe, and what is in service."""

from opencharacter.serving.rollout.outcome import Reason, Rollout, RolloutFailed, RolloutRefused, ServedVersion
from opencharacter.serving.rollout.rolling import roll_out, served_version
from opencharacter.serving.rollout.smoke import SMOKE_TAG, SmokeQuestion

__all__ = [
    "SMOKE_TAG",
    "Reason",
    "Rollout",
    "RolloutFailed",
    "RolloutRefused",
    "ServedVersion",
    "SmokeQuestion",
    "roll_out",
    "served_version",
]
