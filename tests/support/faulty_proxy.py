"""An HTTP proxy before a server that fails as networks and overloaded stores do."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

FaultKind = Literal[
    "drop",  # closes the connection without an answer
    "slow_down",  # 503 SlowDown
    "cut_request",  # the server gets half of the body, the client nothing
    "cut_answer",  # the client gets half of the answer
    "lost_answer",  # the server has done it, and the client is not told
    "stall",  # sends half of the body on, sets `stalled`, waits for `resumed` and closes the connection
    "elsewhere",  # what AWS says of a bucket in another region
    "deaf_to_conditions",  # 200, as from a store that ignores If-None-Match
]


def _answer(status: bytes, error: bytes, header: bytes = b'ETag: "0"') -> bytes:
    body = b"<?xml version='1.0'?><Error>" + error + b"</Error>" if error else b""
    return b"HTTP/1.1 %s\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (status, header, len(body), body)


_ANSWERS = {
    "drop": b"",
    "slow_down": _answer(b"503 Slow Down", b"<Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"),
    "elsewhere": _answer(
        b"400 Bad Request",
        b"<Code>AuthorizationHeaderMalformed</Code><Message>wrong region</Message><Region>eu-west-3</Region>",
        b"x-amz-bucket-region: eu-west-3",
    ),
    "deaf_to_conditions": _answer(b"200 OK", b""),
}


@dataclass
class Fault:
    """Hits the next `times` requests whose line (`PUT /bucket/key?query`) begins with the method and holds the text."""

    kind: FaultKind
    method: str
    text: str
    times: int = 1
    hits: int = 0


@dataclass
class FaultyProxy:
    """Set `faults`; `requests` are the request lines so far."""

    host: str
    server_port: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, kind: FaultKind, method: str, text: str, times: int = 1) -> Fault:
        """Add a fault; its `hits` tell how often it came to pass."""
        fault = Fault(kind, method, text, times)
        self.faults.append(fault)
        return fault

    def serve(self, client: socket.socket) -> None:
        """Answer one request, and close."""
        head, body = _read_request(client)
        line = b" ".join(head.split(b"\r\n", 1)[0].split(b" ")[:2]).decode()
        kind = self._next(line)
        if kind in _ANSWERS:
            body += _receive(client, _length(head) - len(body))
            client.sendall(_ANSWERS[kind])
            return
        with socket.create_connection((self.host, self.server_port)) as server:
            body += _receive(client, _length(head) - len(body))
            sent = body[: len(body) // 2] if kind in ("cut_request", "stall") else body
            server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + sent)
            if kind == "stall":
                self.stalled.set()
                self.resumed.wait(60)
            if kind in ("cut_request", "stall"):
                return
            answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
        if kind != "lost_answer":
            client.sendall(answer[: len(answer) // 2] if kind == "cut_answer" else answer)

    def _next(self, line: str) -> str | None:
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.hits < fault.times and line.startswith(fault.method) and fault.text in line:
                    fault.hits += 1
                    return fault.kind
        return None


@contextmanager
def faulty_proxy(host: str, port: int) -> Iterator[FaultyProxy]:
    """A proxy before the server at that address."""
    proxy = FaultyProxy(host, port)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                proxy.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()


def _read_request(client: socket.socket) -> tuple[bytes, bytes]:
    """The head (with its empty line), and what came of the body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(1 << 16)
        if not more:
            raise ConnectionError("no request")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
    if len(lines) < len(head.split(b"\r\n")):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    return b"\r\n".join(lines) + b"\r\n\r\n", body


def _length(head: bytes) -> int:
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return int(lengths[0].split(b":")[1]) if lengths else 0


def _receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(min(1 << 20, count - len(data)))
        if not more:
            raise ConnectionError("the request ended early")
        data += more
    return data
