"""HTTP as no client library would write it."""

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_WAIT_S = 20


@dataclass(frozen=True)
class Answer:
    """What came back before the server closed the connection; status 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """The error in OpenAI's form."""
        return json.loads(self.body)["error"]


def connect(url: str) -> socket.socket:
    """A connection to the server of an URL."""
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=_WAIT_S)


def exchange(url: str, sent: bytes) -> Answer:
    """Send bytes and read until the server closes."""
    with connect(url) as connection:
        connection.sendall(sent)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> Answer:
    """What comes until the server closes; fails if it does not."""
    got = b""
    while piece := connection.recv(1 << 16):
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]) if first else 0, headers, body)


def post(body: bytes, *headers: bytes, path: str = "/v1/chat/completions") -> bytes:
    """A request that asks the server to close after its answer."""
    lines = [b"Host: x", b"Connection: close", b"Content-Length: %d" % len(body), *headers]
    return b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (path.encode(), b"\r\n".join(lines), body)
