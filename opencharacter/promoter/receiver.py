"""The promoter's HTTP server: health, metrics, and MLflow's deliveries."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opencharacter.promoter.metrics import Metrics
from opencharacter.registry import AliasMove, Deliveries, UntrustedDelivery

WEBHOOK_PATH = "/webhooks/mlflow"

_MAX_BODY_BYTES = 64 << 10
_REQUEST_S = 10


@contextmanager
def receiving(
    host: str,
    port: int,
    *,
    metrics: Metrics,
    healthy: Callable[[], bool],
    deliveries: Deliveries | None,
    on_move: Callable[[AliasMove], None],
) -> Iterator[int]:
    """Serve for the length of the block, on the port that it gives (`port` 0: a free one).

    `on_move` is called for each move of an alias in a checked delivery. Without `deliveries` there is no webhook.
    Raises `OSError` if the port is taken.
    """
    handler = _handler(metrics, healthy, deliveries, on_move)
    with ThreadingHTTPServer((host, port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _handler(
    metrics: Metrics,
    healthy: Callable[[], bool],
    deliveries: Deliveries | None,
    on_move: Callable[[AliasMove], None],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(200, b"ok\n") if healthy() else self._answer(503, b"a watcher is stuck or has ended\n")
            elif self.path == "/metrics":
                self._answer(200, metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            else:
                self._answer(404, b"no such page: /healthz and /metrics are there\n")

        def do_POST(self) -> None:
            if self.path != WEBHOOK_PATH or deliveries is None:
                self._answer(404, b"no such page\n")
                return
            length = self.headers.get("Content-Length", "")
            if not length.isascii() or not length.isdigit():
                self._answer(411, b"expected Content-Length\n")
                return
            if int(length) > _MAX_BODY_BYTES:
                self._answer(413, b"too large\n")
                return
            try:
                moved = deliveries.accept(self.headers, self.rfile.read(int(length)))
            except UntrustedDelivery as error:
                metrics.deliveries.labels("refused").inc()
                self._answer(401, f"{error}\n".encode())
                return
            metrics.deliveries.labels("accepted" if moved else "ignored").inc()
            self._answer(204)
            if moved:
                on_move(moved)

        def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    return Handler
