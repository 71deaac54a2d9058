"""How requests reach a server, and what a failure is called; the servers are sockets of this process."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import pytest
import uvicorn
from support.certificates import Authority, authority  # noqa: F401

from opencharacter.engines import kept_connections
from opencharacter.engines import transport as transport_module
from opencharacter.engines.transport import Broken, HttpAnswer, TimedOut, Transport, TransportError, Unreachable
from opencharacter.errors import UserError
from opencharacter.system.processes import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: a\r\n\r\nok"

Reply = Callable[[int, int], bytes | None]
"""What to send to request `n` of connection `c`, both from 0; none: close the connection, and so after a part."""


class Server:
    """A scripted HTTP server. `heads` are the requests' heads, `connections` counts what was accepted."""

    def __init__(self, reply: Reply, gate: Callable[[], Awaitable[None]] | None = None) -> None:
        self._reply = reply
        self._gate = gate
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, number = self.connections, 0
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = next(
                    (line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length")), 0
                )
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length)))
                if self._gate is not None:
                    await self._gate()
                reply = self._reply(connection, number)
                writer.write(reply or b"")
                if reply is None or not reply.endswith(b"ok"):
                    break
                number += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    reply: Reply = lambda *_: OK,
    *,
    gate: Callable[[], Awaitable[None]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    server = Server(reply, gate)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls, backlog=1024)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def sending(url: str, *, timeout_s: float = 30, api_key: str | None = None) -> AsyncIterator[Transport]:
    transport = Transport(url, api_key=api_key, timeout_s=timeout_s)
    try:
        yield transport
    finally:
        await transport.close()


async def post_once(url: str, **settings: float) -> HttpAnswer:
    async with sending(url, **settings) as transport:
        return await transport.post("/chat/completions", b"{}")


async def test_an_answer_is_status_headers_and_body_whatever_the_status() -> None:
    refused = OK.replace(b"200 OK", b"429 Too Many Requests")
    async with serving(lambda *_: refused) as server:
        answer = await post_once(server.url + "/")
    assert (answer.status, answer.headers["x-name"], answer.body) == (429, "a", b"ok")
    assert server.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "Content-Type: application/json\r\n" in server.heads[0]


async def test_the_key_goes_into_its_header_and_a_password_in_the_url_takes_its_place() -> None:
    async with serving() as server:
        async with sending(server.url, api_key="secret") as transport:
            await transport.post("/chat/completions", b"{}")
        await post_once(server.url.replace("://", "://ada:tide@"))
    assert "Authorization: Bearer secret\r\n" in server.heads[0]
    assert "Authorization: Basic YWRhOnRpZGU=\r\n" in server.heads[1]


async def test_connections_are_kept() -> None:
    async with serving() as server, sending(server.url) as transport:
        for _ in range(3):
            await transport.post("/chat/completions", b"{}")
    assert server.connections == 1


async def test_an_idle_connection_is_left_before_the_server_may_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uvicorn.Config("app").timeout_keep_alive > transport_module.KEEP_ALIVE_S > 0, "vLLM's, too, by default"
    monkeypatch.setattr(transport_module, "KEEP_ALIVE_S", 1e-9)
    async with serving() as server, sending(server.url) as transport:
        for _ in range(3):
            await transport.post("/chat/completions", b"{}")
    assert server.connections == 3


async def test_a_request_that_meets_the_server_closing_a_kept_connection_is_sent_again() -> None:
    def close_the_first(connection: int, number: int) -> bytes | None:
        return None if (connection, number) == (0, 1) else OK

    async with serving(close_the_first) as server, sending(server.url) as transport:
        await transport.post("/chat/completions", b"first")
        assert (await transport.post("/chat/completions", b"second")).body == b"ok"
    assert server.bodies == [b"first", b"second", b"second"]


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (lambda connection, number: None, 1),
        (lambda connection, number: None if (connection, number) != (0, 0) else OK, 3),
        (lambda connection, number: OK if (connection, number) != (0, 1) else b"HTTP/1.1 200 OK\r\nContent-", 2),
        (lambda connection, number: OK if (connection, number) != (0, 1) else OK[:-1], 2),
    ],
    ids=["on a new connection", "twice", "within the head", "within the body"],
)
async def test_a_request_that_may_have_been_worked_on_is_not_sent_again(reply: Reply, requests: int) -> None:
    async with serving(reply) as server, sending(server.url) as transport:
        with suppress(Broken):
            await transport.post("/chat/completions", b"{}")
            await transport.post("/chat/completions", b"{}")
            pytest.fail("one of the two is cut off")
    assert len(server.bodies) == requests


async def test_as_many_connections_are_open_as_there_are_requests() -> None:
    everyone = asyncio.Barrier(300)

    async def gate() -> None:
        await everyone.wait()

    async with serving(gate=gate) as server, sending(server.url) as transport:
        answers = await asyncio.gather(*(transport.post("/chat/completions", b"{}") for _ in range(300)))
    assert {answer.status for answer in answers} == {200}
    assert server.connections == 300


def _no_such_host(*_: object, **__: object) -> NoReturn:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_connections_are_made_a_few_at_a_time_each_with_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "_MOST_MADE_AT_ONCE", 2)
    monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT_S", 0.05)
    at_once: list[int] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once.append(at_once[-1] + 1 if at_once else 1)
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        at_once.append(at_once[-1] - 1)
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}/v1"
    async with sending(url) as transport:
        posts = (transport.post("/chat/completions", b"{}") for _ in range(6))
        failures = await asyncio.gather(*posts, return_exceptions=True)
    silent.close()
    assert {type(failure) for failure in failures} == {Unreachable}
    assert sum(later > earlier for earlier, later in pairwise([0, *at_once])) == 6
    assert max(at_once) <= 4, "two, and two whose end the server may not have seen"


async def _never() -> None:
    await asyncio.Event().wait()


async def test_failures_have_three_names_and_plain_words(
    authority: Authority,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def failure(url: str, **settings: float) -> TransportError:
        with pytest.raises(TransportError) as caught:
            await post_once(url, **settings)
        return caught.value

    nobody = free_port()
    refused = await failure(f"http://127.0.0.1:{nobody}/v1")
    assert (type(refused), str(refused)) == (Unreachable, f"no connection to 127.0.0.1:{nobody}: Connection refused")
    monkeypatch.setattr(socket, "getaddrinfo", _no_such_host)  # a real resolver takes its time
    unknown = await failure("http://teacher.invalid/v1")
    monkeypatch.undo()
    assert (type(unknown), str(unknown)) == (
        Unreachable,
        "no connection to teacher.invalid:80: Name or service not known",
    )
    async with serving(gate=_never) as server:
        late = await failure(server.url, timeout_s=0.05)
    assert (type(late), str(late)) == (TimedOut, "no answer in time")
    async with serving(lambda *_: b"SSH-2.0-OpenSSH_9.2\r\n") as server:
        assert isinstance(await failure(server.url), Broken)
    monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT_S", 0.05)
    async with serving() as plain:
        silent = await failure(plain.url.replace("http:", "https:"))
    monkeypatch.undo()
    assert (type(silent), str(silent)) == (Unreachable, "no connection within 0.05 s")
    async with serving(tls=authority.server_context()) as server:
        distrusted = await failure(server.url.replace("http:", "https:"))
    assert isinstance(distrusted, Unreachable)
    assert "the certificate of 127.0.0.1 is not accepted" in str(distrusted)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_certificates_of_the_environment_count(
    authority: Authority,  # noqa: F811
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    place: Path = authority.file if variable == "SSL_CERT_FILE" else authority.folder
    monkeypatch.setenv(variable, str(place))
    async with serving(tls=authority.server_context()) as server:
        assert (await post_once(server.url.replace("http:", "https:"))).body == b"ok"


async def test_a_proxy_is_asked_for_other_hosts_and_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    replies = iter([OK, refusal])
    async with serving() as here, serving(lambda *_: next(replies)) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://ada:tide@127.0.0.1:{proxy.port}")
        await post_once(here.url)
        assert not proxy.heads
        await post_once("http://teacher.example/v1")
        with pytest.raises(Unreachable, match="the proxy refuses the connection: 407") as caught:
            await post_once("https://teacher.example/v1")
    plain, tunnel = proxy.heads
    assert plain.startswith("POST http://teacher.example/v1/chat/completions ")
    assert tunnel.startswith("CONNECT teacher.example:443 ")
    assert plain.count("Proxy-Authorization: Basic YWRhOnRpZGU=") == tunnel.count("Proxy-Authorization") == 1
    assert "tide" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "http://host:port/v1", ""])
async def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="base_url"):
        Transport(url, api_key=None, timeout_s=1)
