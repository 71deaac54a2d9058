"""The transformer of a KServe InferenceService: `python -m opencharacter.serving.transformer --predictor_host HOST`.

It takes OpenAI chat requests with a `character`, makes the character's system message and passes the request on to the
model server. It runs on KServe's model server: the arguments, health, metrics and v1/v2 routes are KServe's; the
OpenAI routes are ours, since KServe's own need a vLLM of their choice in this image.

This module imports KServe, which reads the command line as it is imported; it is run, not imported.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from kserve import Model, ModelServer, model_server
from kserve.logging import logger
from kserve.predictor_config import PredictorConfig
from kserve.protocol.dataplane import DataPlane

from opencharacter.characters import DEFAULT_PROMPT, PROMPT_FILES
from opencharacter.errors import OpenCharacterError
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.contract.prompt import ServedPrompt, has_prompt, load_served_prompt, packaged_prompt
from opencharacter.serving.endpoint.front import PREFIXES, chat_router
from opencharacter.serving.endpoint.library import CharacterLibrary
from opencharacter.serving.endpoint.settings import add_arguments, read_arguments
from opencharacter.serving.endpoint.upstream import Predictor


class CharacterTransformer(Model):
    """The model as KServe's registry knows it: ready when the predictor is."""

    def __init__(self, name: str, predictor: Predictor) -> None:
        super().__init__(name)
        self._predictor = predictor
        self.ready = True  # loaded; KServe serves no other

    async def healthy(self) -> bool:
        """Whether the predictor is ready."""
        return await self._predictor.healthy()

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> NoReturn:
        """KServe's v1 and v2 inference calls end here, with a 501."""
        raise NotImplementedError(f"this model chats: call {PREFIXES[0]}/chat/completions")


class _CharacterDataPlane(DataPlane):
    """KServe asks predictors for its own health routes, which vLLM does not have; this asks for vLLM's."""

    def __init__(self, predictor: Predictor, **settings: Any) -> None:
        super().__init__(**settings)
        self._predictor = predictor

    async def ready(self) -> bool:
        return await self._predictor.healthy()


class _Server(ModelServer):
    """KServe's server, with an address to listen on, and signals that end it at any moment of its life."""

    def __init__(self, host: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._host = host

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        await super()._serve()

    def register_signal_handler(self) -> None:
        # KServe's own handler loses a signal that comes before uvicorn runs. Uvicorn finishes the answers under way on
        # the first signal and then raises it again, which gets here.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2 for a bad argument or model folder."""
    arguments = _parse_arguments()
    settings = read_arguments(arguments)
    # Where KServe finds vLLM it imports it for OpenAI routes of its own, which we don't use: 15 s and a gigabyte.
    sys.modules.setdefault("vllm", None)  # type: ignore[arg-type]
    try:
        prompt = _served_prompt(arguments)
    except OpenCharacterError as error:
        print(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)
    predictor_config = PredictorConfig(arguments.predictor_host, predictor_use_ssl=arguments.predictor_use_ssl)
    predictor = Predictor(
        predictor_config.predictor_base_url,
        request_timeout_s=settings.request_timeout_s,
        stream_idle_timeout_s=settings.stream_idle_timeout_s,
    )
    contract = Contract(prompt, arguments.model_name, CharacterLibrary(settings.characters_dir), settings)
    model_server.app.include_router(chat_router(predictor, contract, settings))
    server = _Server(
        arguments.http_host, enable_grpc=False, predictor_config=predictor_config, grace_period=int(settings.drain_s)
    )
    server.dataplane = _CharacterDataPlane(predictor, model_registry=server.registered_models)
    server.start([CharacterTransformer(arguments.model_name, predictor)])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m opencharacter.serving.transformer",
        description="KServe transformer that makes a character's profile into the model's system prompt.",
        parents=[model_server.parser],
    )
    parser.add_argument("--model_dir", type=Path, default=Path("/mnt/models"), help="The model folder that is served.")
    parser.add_argument("--http_host", default="0.0.0.0", help="The address that the HTTP port is opened on.")
    parser.add_argument(
        "--allow_packaged_prompt",
        action="store_true",
        help="Use a prompt template of the library's where the model folder has none of its own.",
    )
    parser.add_argument(
        "--packaged_prompt",
        choices=list(PROMPT_FILES),
        default=DEFAULT_PROMPT,
        help="Which of the library's prompt templates that is.",
    )
    add_arguments(parser)
    arguments = parser.parse_args()
    if not arguments.predictor_host:
        parser.error("--predictor_host is required: HOST:PORT of the model server")
    if arguments.workers != 1:
        parser.error("--workers must be 1: the transformer is one asynchronous process; scale by replicas")
    return arguments


def _served_prompt(arguments: argparse.Namespace) -> ServedPrompt:
    if arguments.allow_packaged_prompt and not has_prompt(arguments.model_dir):
        logger.warning("%s holds no prompt template of its own; using the library's", arguments.model_dir)
        return packaged_prompt(arguments.packaged_prompt)
    return load_served_prompt(arguments.model_dir)


if __name__ == "__main__":
    main()
