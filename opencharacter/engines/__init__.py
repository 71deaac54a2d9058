"""Language models: where weights come from, how they are served, how they are called."""

from opencharacter.engines.bounded import Tally, run_bounded
from opencharacter.engines.chat import ChatEngine, ChatFailed, ChatReply, EngineDown, Traffic
from opencharacter.engines.engine_config import EngineConfig, Sampling
from opencharacter.engines.opening import open_engine
from opencharacter.engines.shared_servers import stop_servers
from opencharacter.engines.vllm_server import VllmServer, serve_vllm, server_request_count
from opencharacter.engines.weights import localize_model

__all__ = [
    "ChatEngine",
    "ChatFailed",
    "ChatReply",
    "EngineConfig",
    "EngineDown",
    "Sampling",
    "Tally",
    "Traffic",
    "VllmServer",
    "localize_model",
    "open_engine",
    "run_bounded",
    "serve_vllm",
    "server_request_count",
    "stop_servers",
]
