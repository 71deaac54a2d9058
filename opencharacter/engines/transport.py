"""HTTP to one model server: kept connections, as many as there are requests, and three ways to fail."""

import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult

from opencharacter import __version__
from opencharacter.engines.network import proxy_for, read_base_url, tls_context

CONNECT_TIMEOUT_S = 10.0
"""For one TCP connection and its TLS handshake."""

KEEP_ALIVE_S = 3.0
"""Seconds after which an idle connection is not used again. Less than the 5 s of uvicorn and vLLM: a request on a
connection that the server is just closing is lost."""

_LONGEST_HEADER = 1 << 16


class TransportError(Exception):
    """A request without a whole answer."""


class Unreachable(TransportError):
    """No connection: refused, no such host, no agreement on TLS, a proxy that does not let it pass."""


class TimedOut(TransportError):
    """No whole answer in time."""


class Broken(TransportError):
    """The connection ended before the whole answer was there, or what came is not HTTP."""


class HttpAnswer(NamedTuple):
    """An answer of the server, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Their names' case does not count."""
    body: bytes


class Transport:
    """Sends requests to the server at `base_url`; made and used inside one event loop.

    Proxies and certificates are those of the environment. Raises `UserError` if `base_url` is no HTTP address.
    """

    def __init__(self, base_url: str, *, api_key: str | None, timeout_s: float) -> None:
        import aiohttp

        from opencharacter.engines.kept_connections import KeptConnections, reused

        address = read_base_url(base_url)
        self._reused = reused
        self._root = base_url.rstrip("/")
        self._proxy = proxy_for(base_url)
        self._session = aiohttp.ClientSession(
            # The engine bounds its requests; a second bound here (by default 100) would only make them wait again.
            connector=KeptConnections(
                limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=tls_context() if address.scheme == "https" else True
            ),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(address, api_key),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """The answer to a JSON request to `path` below the base URL, with `headers` besides those of every request.

        A request that fails on a kept connection before a byte of the answer came is sent once more. Raises
        `Unreachable`, `TimedOut` and `Broken`.
        """
        try:
            return await self._send(path, body, headers)
        except Broken as error:
            if not (self._reused.get() and _is_unanswered(error.__cause__)):
                raise
        return await self._send(path, body, headers)

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    async def _send(self, path: str, body: bytes, headers: Mapping[str, str] | None) -> HttpAnswer:
        import aiohttp

        try:
            async with self._session.post(self._root + path, data=body, headers=headers, proxy=self._proxy) as answer:
                return HttpAnswer(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            raise _named(error) from error


def _headers(address: SplitResult, api_key: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": f"opencharacter/{__version__}"}
    if address.username is None:  # else aiohttp sends the name and password of the URL
        headers["Authorization"] = f"Bearer {api_key or 'none'}"
    return headers


def _is_unanswered(error: BaseException | None) -> bool:
    """Whether a broken connection ended before the first byte of the answer."""
    import aiohttp

    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else the part of the answer's head that came
    return isinstance(error, aiohttp.ClientConnectionResetError | aiohttp.ClientOSError)


def _named(error: Exception) -> TransportError:
    import aiohttp

    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Unreachable(f"the proxy cannot be reached: {_words(error.os_error)}")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Unreachable(f"the proxy refuses the connection: {error.status} {error.message}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Unreachable(f"the certificate of {error.host} is not accepted: {error.certificate_error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreachable(f"no connection to {error.host}:{error.port}: {_words(error.os_error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unreachable(f"no connection within {CONNECT_TIMEOUT_S:g} s")
    if isinstance(error, TimeoutError):
        return TimedOut("no answer in time")
    return Broken(f"connection broken: {error}")


def _words(error: OSError) -> str:
    """What the operating system says, without Python's additions."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
