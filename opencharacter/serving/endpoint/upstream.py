"""The transformer's client of the model server behind it: bounded waits, streams by bytes, faults distinguished."""

import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from opencharacter.serving.endpoint.api_errors import ApiError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 10.0
_HEALTH_TIMEOUT_S = 2.0
_RETRY_AFTER_S = 2
# Shorter than the model server keeps idle connections (vLLM: 5 s), so that none is used just as it is being closed.
_KEEPALIVE_S = 2.0
_UNSENT_HEADERS = ("User-Agent", "Accept", "Accept-Encoding")

_logger = logging.getLogger("kserve")


class Upstream:
    """The model server at `base_url` (no path): one pool of connections for calls, another for asking if it is ready.

    It is made inside the running event loop, and closed there.
    """

    def __init__(self, base_url: str, *, request_timeout_s: float, stream_idle_timeout_s: float) -> None:
        import aiohttp

        self._base_url = base_url
        self._answer_timeout = aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=_CONNECT_TIMEOUT_S)
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=stream_idle_timeout_s
        )
        self._stream_idle_timeout_s = stream_idle_timeout_s
        self._urls: dict[str, URL] = {}  # of the few paths that there are, parsed once
        self._calls = _session(base_url)
        self._questions = _session(base_url)

    async def ready(self) -> bool:
        """Whether the model server says that it can serve."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_HEALTH_TIMEOUT_S)
        try:
            async with self._questions.get(self._url("/health"), timeout=timeout) as answer:
                if answer.status != 404:
                    return answer.ok
            # An OpenAI-compatible server without vLLM's route; one that asks for a key is there too.
            async with self._questions.get(self._url("/v1/models"), timeout=timeout) as answer:
                return answer.status < 500
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def read(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
        """A small read that shares nothing with the calls: body and content type. Raises `ApiError`."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_READ_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
        with _faults():
            async with self._questions.get(self._url(path), headers=headers, timeout=timeout) as answer:
                body = await answer.read()
                if not answer.ok:
                    raise _refusal(answer, body)
                return body, answer.headers.get("content-type", "text/plain")

    async def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """A call whose whole answer is awaited. Raises `ApiError`: 503, 504, 502, or the model server's own 4xx."""
        with _faults():
            async with self._calls.post(
                self._url(path), data=body, headers=headers, timeout=self._answer_timeout
            ) as answer:
                content = await answer.read()
                if not answer.ok:
                    raise _refusal(answer, content)
                return content

    @asynccontextmanager
    async def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> "AsyncIterator[Stream]":
        """A call whose answer is read piece by piece; the connection is closed if it is left before its end.

        Raises `ApiError` like `answer`.
        """
        with _faults():
            answer = await self._calls.post(self._url(path), data=body, headers=headers, timeout=self._stream_timeout)
        try:
            if not answer.ok:
                with _faults():
                    raise _refusal(answer, await answer.read())
            yield Stream(answer, self._stream_idle_timeout_s)
        finally:
            answer.release()  # closes what was not read to its end

    async def close(self) -> None:
        """Close the pools."""
        await self._calls.close()
        await self._questions.close()

    def _url(self, path: str) -> "URL":
        from yarl import URL

        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base_url + path)
        return url


class Stream:
    """A streamed answer under way."""

    __slots__ = ("_content", "_idle_timeout_s")

    def __init__(self, answer: "aiohttp.ClientResponse", idle_timeout_s: float) -> None:
        self._content = answer.content
        self._idle_timeout_s = idle_timeout_s

    async def piece(self) -> bytes:
        """What has come; empty at the end. Raises `ApiError` (502, `stream_interrupted`) for a break or a stall."""
        import aiohttp

        try:
            return await self._content.readany()
        except TimeoutError as error:
            raise interrupted(f"the model server sent nothing for {self._idle_timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            _logger.warning("a stream of the model server broke: %r", error)
            raise interrupted("the connection to the model server broke in mid-answer") from error


def interrupted(message: str) -> ApiError:
    """The error that ends a stream which has begun."""
    return ApiError(502, message, code="stream_interrupted")


def _session(base_url: str) -> "aiohttp.ClientSession":
    import aiohttp

    # KServe names the authority that signs in-cluster certificates in REQUESTS_CA_BUNDLE. Proxies of the environment
    # are for the outside world: the model server is in the same pod.
    secure = base_url.startswith("https:")
    connector = aiohttp.TCPConnector(
        limit=0,  # the endpoint's own limits come before
        keepalive_timeout=_KEEPALIVE_S,
        ssl=ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE")) if secure else True,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_UNSENT_HEADERS,
    )


@contextmanager
def _faults() -> Iterator[None]:
    """Tell what went wrong before an answer had come, as the error for the caller."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        _logger.warning("the model server cannot be reached: %r", error)
        raise _unavailable("the model server cannot be reached") from error
    except TimeoutError as error:
        raise ApiError(504, "the model server did not answer in time", code="predictor_timeout") from error
    except (aiohttp.ClientError, OSError) as error:
        _logger.warning("the model server broke the connection: %r", error)
        raise _unavailable("the model server broke the connection") from error


def _unavailable(message: str) -> ApiError:
    return ApiError(503, message, code="predictor_unavailable", retry_after_s=_RETRY_AFTER_S)


class _Refusal(ApiError):
    """An error answer of the model server: its 4xx pass as they are, 503 stays 503, other 5xx become a 502."""

    def __init__(self, status: int, retry_after: str | None, content: bytes) -> None:
        super().__init__(
            status if status < 500 or status == 503 else 502,
            f"the model server answered with status {status}",
            code="predictor_error",
            retry_after_s=_RETRY_AFTER_S if status == 503 else None,
        )
        if retry_after is not None:
            self.headers["Retry-After"] = retry_after
        self._own_body = _json_object(content) if status < 500 else None

    @property
    def body(self) -> dict[str, Any]:
        """The model server's own body where it says what the caller did wrong."""
        return self._own_body or super().body


def _refusal(answer: "aiohttp.ClientResponse", content: bytes) -> _Refusal:
    if answer.status >= 500:
        _logger.error("the model server answered %s: %.500s", answer.status, content.decode("utf-8", "replace"))
    return _Refusal(answer.status, answer.headers.get("retry-after"), content)


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
