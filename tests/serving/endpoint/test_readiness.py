"""Ready means that a character can answer, not only that the model server's process is there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from opencharacter.serving.endpoint.api_errors import invalid
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.contract.prompt import load_served_prompt
from opencharacter.serving.endpoint.library import CharacterLibrary
from opencharacter.serving.endpoint.readiness import Readiness
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Upstream


class ModelServer:
    """Answers probes as it is told to."""

    def __init__(self) -> None:
        self.health = 200
        self.models: web.Response | object = {"data": [{"id": "base"}, {"id": "bard"}]}
        self.listed = 0

    async def answer_health(self, _: web.Request) -> web.Response:
        return web.Response(status=self.health)

    async def answer_models(self, _: web.Request) -> web.Response:
        self.listed += 1
        return web.Response(status=self.models) if isinstance(self.models, int) else web.json_response(self.models)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Readiness]


@pytest.fixture
async def server() -> ModelServer:
    return ModelServer()


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(server: ModelServer, clock: Clock, model_dir: Path) -> AsyncIterator[Make]:
    application = web.Application()
    application.router.add_get("/health", server.answer_health)
    application.router.add_get("/v1/models", server.answer_models)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    upstream = Upstream(url, request_timeout_s=5, stream_idle_timeout_s=5)

    def readiness(contract: type[Contract] = Contract) -> Readiness:
        made = contract(load_served_prompt(model_dir), "bard", CharacterLibrary(), EndpointSettings())
        return Readiness(upstream, made, clock=clock)

    yield readiness
    await upstream.close()
    await runner.cleanup()


async def test_ready_when_the_model_is_served_and_a_prompt_renders(make: Make) -> None:
    assert await make().check()


@pytest.mark.parametrize(
    ("health", "models"),
    [
        (503, {"data": [{"id": "bard"}]}),
        (200, {"data": [{"id": "base"}]}),
        (200, 500),
        (200, {"object": "list"}),
        (200, []),
    ],
)
async def test_not_ready_when_the_engine_is_ill_or_serves_another_model(
    make: Make, server: ModelServer, health: int, models: object
) -> None:
    server.health, server.models = health, models
    assert not await make().check()


@pytest.mark.parametrize("status", [401, 404])
async def test_a_server_that_does_not_show_its_models_may_still_serve_them(
    make: Make, server: ModelServer, status: int
) -> None:
    server.models = status
    assert await make().check()


class BrokenContract(Contract):
    def chat(self, *_: object, **__: object) -> Call:
        raise invalid("character", "cannot be rendered")


async def test_not_ready_when_no_prompt_renders(make: Make) -> None:
    assert not await make(contract=BrokenContract).check()


async def test_models_are_asked_for_now_and_then_and_the_engines_health_each_time(
    make: Make, server: ModelServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    readiness = make()
    assert all(await asyncio.gather(*(readiness.check() for _ in range(20))))
    assert server.listed == 1
    server.health = 503
    assert not await readiness.check()
    assert not await readiness.check()
    assert caplog.text.count("not ready: the model server is not ready") == 1
    server.health, server.models = 200, {"data": []}
    assert await readiness.check()
    clock.now = 5.0
    assert not await readiness.check()
    server.models = {"data": [{"id": "bard"}]}
    assert await readiness.check(), "what is bad is asked again at once"
