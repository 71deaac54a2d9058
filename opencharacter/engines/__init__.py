"""Language models: where weights come from, how they are served, how they are called."""

from opencharacter.engines.bounded import Tally, run_bounded
from opencharacter.engines.chat import ChatEngine, ChatFailed, ChatReply, EngineDown, Traffic
from opencharacter.engines.config import EngineConfig, Sampling
from opencharacter.engines.models import localize_model

__all__ = [
    "ChatEngine",
    "ChatFailed",
    "ChatReply",
    "EngineConfig",
    "EngineDown",
    "Sampling",
    "Tally",
    "Traffic",
    "localize_model",
    "run_bounded",
]
