"""KServe's model server with the front before its application, uvloop, and an end that no stream is cut by."""

import asyncio
import logging
import signal
import socket
import sys
from typing import Any

from kserve import Model, ModelServer, model_server
from kserve.logging import logger
from kserve.predictor_config import PredictorConfig
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import RESTServer, _RefreshingServer

from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.front import Front
from opencharacter.serving.endpoint.http_protocol import limited_protocol
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Upstream

_LAST_WORDS_S = 3
"""For the error events of cut streams, after the time to drain."""


def character_server(
    contract: Contract, settings: EndpointSettings, *, model_name: str, predictor_host: str, predictor_use_ssl: bool
) -> "CharacterServer":
    """The server of one model before the model server at `predictor_host` (HOST:PORT)."""
    predictor = PredictorConfig(predictor_host, predictor_use_ssl=predictor_use_ssl)

    def connect() -> Upstream:
        return Upstream(
            predictor.predictor_base_url,
            request_timeout_s=settings.request_timeout_s,
            stream_idle_timeout_s=settings.stream_idle_timeout_s,
        )

    front = Front(model_server.app, contract, settings, connect)
    return CharacterServer(front, settings, model_name=model_name, predictor_config=predictor)


class _CharacterModel(Model):
    """The model as KServe's registry knows it: ready when a request would be answered."""

    def __init__(self, name: str, front: Front) -> None:
        super().__init__(name)
        self._front = front
        self.ready = True  # loaded; KServe serves no other

    async def healthy(self) -> bool:
        """Whether a request would be answered."""
        return await self._front.ready()


class _DataPlane(DataPlane):
    """KServe asks predictors for its own health routes, which vLLM does not have; this asks the front."""

    def __init__(self, front: Front, **settings: Any) -> None:
        super().__init__(**settings)
        self._front = front

    async def ready(self) -> bool:
        return await self._front.ready()


class _RestServer(RESTServer):
    def _add_middlewares(self, app: Any) -> None:
        # KServe's own is a log line for each request, so for each probe; it says nothing that metrics do not.
        if self.access_log_format:
            super()._add_middlewares(app)


class _UvicornServer(_RefreshingServer):
    """Tells the front of a shutdown as it begins."""

    def __init__(self, config: Any, front: Front) -> None:
        super().__init__(config)
        self._front = front

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._front.drain()
        await super().shutdown(sockets)


class CharacterServer(ModelServer):
    """Serves one model, its port being the one of KServe's arguments."""

    def __init__(
        self, front: Front, settings: EndpointSettings, *, model_name: str, predictor_config: PredictorConfig
    ) -> None:
        super().__init__(enable_grpc=False, predictor_config=predictor_config)
        self._model_name = model_name
        self._front = front
        self._settings = settings
        self.dataplane = _DataPlane(front, model_registry=self.registered_models)

    def serve(self, listener: socket.socket) -> None:
        """Run until SIGTERM or SIGINT, on uvloop where `--event-loop` does not say otherwise."""
        # KServe's own `start` runs `asyncio.run`, which heeds neither its argument nor uvicorn's choice.
        self._register_and_check_atleast_one_model_is_ready([_CharacterModel(self._model_name, self._front)])
        rest = _RestServer(
            "",
            self.dataplane,
            self.model_repository_extension,
            self.http_port,
            access_log_format=self.access_log_format,
            grace_period=int(self._settings.drain_s) + _LAST_WORDS_S,
            event_loop=self.event_loop,
            timeout_keep_alive=self.timeout_keep_alive,
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
        )
        rest.config.app = self._front
        rest.config.http = limited_protocol(self._settings)
        rest.config.ws = "none"
        rest.config.lifespan = "on"
        rest.config.server_header = False
        rest.create_application()
        # One line a request is the front's to write, and probes are not worth one.
        logging.getLogger("uvicorn.access").handlers = []
        logging.getLogger("uvicorn.access").propagate = False
        # Uvicorn finishes the answers under way on the first signal and then raises it again, which gets here. KServe's
        # own handler would lose a signal that comes before uvicorn runs.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))
        with asyncio.Runner(loop_factory=rest.config.get_loop_factory()) as runner:
            runner.run(self._run(_UvicornServer(rest.config, self._front), listener))

    async def _run(self, server: _UvicornServer, listener: socket.socket) -> None:
        self.setup_event_loop()
        logger.info("the event loop is %s", type(asyncio.get_running_loop()).__module__)
        await server.serve([listener])
