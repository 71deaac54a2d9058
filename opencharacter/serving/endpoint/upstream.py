"""The transformer's client of the model server behind it: bounded waits, streams passed on, faults distinguished."""

import json
import logging
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from opencharacter.serving.endpoint.api_errors import ApiError

_CONNECT_TIMEOUT_S = 2.0
_HEALTH_TIMEOUT_S = 2.0
_WRITE_TIMEOUT_S = 30.0
_RETRY_AFTER_S = 2
# Shorter than the model server keeps idle connections, so that none is used just as it is being closed.
_KEEPALIVE_S = 2.0
_MAX_CONNECTIONS = 1024

_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")
_DONE = b"data: [DONE]"

_logger = logging.getLogger("kserve")


class Predictor:
    """The model server at `base_url` (no path); one connection pool for the whole process."""

    def __init__(self, base_url: str, *, request_timeout_s: float, stream_idle_timeout_s: float) -> None:
        self._base_url = base_url
        self._request_timeout_s = request_timeout_s
        self._stream_idle_timeout_s = stream_idle_timeout_s
        # KServe names the authority that signs in-cluster certificates in REQUESTS_CA_BUNDLE. Proxies of the
        # environment are for the outside world: the predictor is in the same pod.
        self._client = httpx.AsyncClient(
            base_url=base_url,
            trust_env=False,
            verify=ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE")),
            limits=httpx.Limits(
                max_connections=_MAX_CONNECTIONS,
                max_keepalive_connections=_MAX_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE_S,
            ),
        )

    async def healthy(self) -> bool:
        """Whether the model server says that it can serve."""
        try:
            response = await self._client.get("/health", timeout=_HEALTH_TIMEOUT_S)
        except httpx.HTTPError:
            return False
        return response.is_success

    async def get(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        """A small read. Raises `ApiError`."""
        return await self._send(
            self._client.build_request("GET", path, headers=dict(headers), timeout=self._timeout(10))
        )

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A call whose whole answer is awaited. Raises `ApiError`: 503, 504, 502, or the model server's own 4xx."""
        return await self._send(self._request(path, body, headers, self._request_timeout_s))

    async def open_stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A call whose answer is read with `events`, which also closes it. Raises `ApiError` like `post`."""
        return await self._send(self._request(path, body, headers, self._stream_idle_timeout_s), stream=True)

    async def events(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The server-sent events of a stream, whole events only, as they come.

        A stream that breaks, stalls or ends early is closed with an error event and `[DONE]`.
        """
        pending, problem, done = b"", "the model server ended its answer early", False
        try:
            async for chunk in response.aiter_raw():
                pending += chunk
                ends = [match.end() for match in _END_OF_EVENT.finditer(pending)]
                if ends:
                    whole, pending = pending[: ends[-1]], pending[ends[-1] :]
                    done = whole.rstrip().endswith(_DONE)
                    yield whole
        except httpx.TimeoutException:
            problem = f"the model server sent nothing for {self._stream_idle_timeout_s:g} s"
        except httpx.HTTPError as error:
            _logger.warning("stream from %s broke: %r", self._base_url, error)
            problem = "the connection to the model server broke in mid-answer"
        finally:
            await response.aclose()
        if not done:
            body = ApiError(502, problem, code="stream_interrupted").body
            yield f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n".encode()

    async def close(self) -> None:
        """Close the connection pool."""
        await self._client.aclose()

    def _timeout(self, read_s: float) -> httpx.Timeout:
        return httpx.Timeout(read_s, connect=_CONNECT_TIMEOUT_S, write=_WRITE_TIMEOUT_S, pool=_CONNECT_TIMEOUT_S)

    def _request(self, path: str, body: bytes, headers: Mapping[str, str], read_s: float) -> httpx.Request:
        return self._client.build_request(
            "POST",
            path,
            content=body,
            headers={**headers, "Content-Type": "application/json", "Accept-Encoding": "identity"},
            timeout=self._timeout(read_s),
        )

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            response = await self._client.send(request, stream=stream)
            if stream and not response.is_success:
                await response.aread()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unavailable("the model server cannot be reached") from error
        except httpx.PoolTimeout as error:
            raise _unavailable("too many requests are under way") from error
        except httpx.TimeoutException as error:
            raise ApiError(504, "the model server did not answer in time", code="predictor_timeout") from error
        except httpx.HTTPError as error:
            raise _unavailable("the model server broke the connection") from error
        if not response.is_success:
            raise PredictorRefusal(response)
        return response


class PredictorRefusal(ApiError):
    """An error answer of the model server: its 4xx pass as they are, 503 stays 503, other 5xx become a 502."""

    def __init__(self, response: httpx.Response) -> None:
        status = response.status_code
        super().__init__(
            status if status < 500 or status == 503 else 502,
            f"the model server answered with status {status}",
            code="predictor_error",
            retry_after_s=_RETRY_AFTER_S if status == 503 else None,
        )
        if status >= 500:
            _logger.error("model server answered %s: %.500s", status, response.text)
        if "retry-after" in response.headers:
            self.headers["Retry-After"] = response.headers["retry-after"]
        self._own_body = _json_object(response) if status < 500 else None

    @property
    def body(self) -> dict[str, Any]:
        """The model server's own body where it says what the caller did wrong."""
        return self._own_body or super().body


def _unavailable(message: str) -> ApiError:
    return ApiError(503, message, code="predictor_unavailable", retry_after_s=_RETRY_AFTER_S)


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        value = response.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
