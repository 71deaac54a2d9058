"""The OpenAI routes of the transformer, served beside KServe's own on its model server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.serving.endpoint.upstream import Predictor

T = TypeVar("T")

PREFIXES = ("/openai/v1", "/v1")
"""KServe's prefix of the OpenAI API, and the API's own."""

_PASSED_HEADERS = ("authorization", "x-request-id", "x-b3-traceid", "traceparent", "tracestate")
_CLIENT_CLOSED_REQUEST = 499


def chat_router(predictor: Predictor, contract: Contract, settings: EndpointSettings) -> APIRouter:
    """The routes `chat/completions` and `models` under both prefixes, and the model server's `/metrics/engine`.

    Closes the predictor's pool at shutdown.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await predictor.close()

    async def chat(request: Request) -> Response:
        try:
            return await _unless_client_leaves(request, _chat(request, await _body(request, settings)))
        except ApiError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)

    async def _chat(request: Request, body: bytes) -> Response:
        call = contract.chat(body, request.headers, strict=settings.strictness == "strict")
        headers = _passed_headers(request)
        if call.stream:
            upstream = await predictor.open_stream(call.path, call.body, headers)
            return StreamingResponse(
                predictor.events(upstream), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
            )
        answer = await predictor.post(call.path, call.body, headers)
        return Response(answer.content, media_type="application/json")

    async def engine_metrics(_: Request) -> Response:
        # The model server listens on loopback; this is how Prometheus sees it.
        try:
            answer = await predictor.get("/metrics", {})
        except ApiError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)
        return Response(answer.content, media_type=answer.headers.get("content-type", "text/plain"))

    async def models(request: Request) -> Response:
        try:
            answer = await predictor.get("/v1/models", _passed_headers(request))
        except ApiError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)
        return Response(contract.models(answer.content), media_type="application/json")

    router = APIRouter(lifespan=lifespan, tags=["OpenAI"])
    for prefix in PREFIXES:
        router.add_api_route(f"{prefix}/chat/completions", chat, methods=["POST"])
        router.add_api_route(f"{prefix}/models", models, methods=["GET"])
    router.add_api_route("/metrics/engine", engine_metrics, methods=["GET"])
    return router


def _passed_headers(request: Request) -> Mapping[str, str]:
    return {name: request.headers[name] for name in _PASSED_HEADERS if name in request.headers}


async def _body(request: Request, settings: EndpointSettings) -> bytes:
    too_large = ApiError(413, f"the request is larger than {settings.max_body_bytes} bytes", code="request_too_large")
    if int(request.headers.get("content-length", 0)) > settings.max_body_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > settings.max_body_bytes:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, "the request did not arrive in time", code="request_timeout") from error
    return bytes(body)


async def _unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, cancelling it (and with it the call upstream) when the client goes away first.

    Raises `ClientDisconnect` then. An answer that streams watches for itself once it has begun.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.wait({task, watch})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
