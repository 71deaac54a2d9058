"""A stand-in of the KFP API server, for there is no cluster in the tests: it records the runs it shall start."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KfpApi:
    """What the server was asked, and how it shall answer a new run (`refuse` is a status code)."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: int | None = None
        self.multi_user = False
        self.experiments: list[dict[str, Any]] = []
        self.url = ""


@contextmanager
def kfp_api() -> Iterator[KfpApi]:
    """Serve the v2beta1 routes that `submit` needs, on loopback."""
    state = KfpApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/apis/v2beta1/healthz"):
                self._answer(200, {"multi_user": state.multi_user})
            elif self.path.startswith("/apis/v2beta1/experiments"):
                self._answer(200, {"experiments": []})
            else:
                self._answer(404, {"error": "not found", "code": 5})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.path.startswith("/apis/v2beta1/experiments"):
                state.experiments.append(body)
                self._answer(200, {"experiment_id": "e1", "display_name": body["display_name"]})
            elif state.refuse:
                self._answer(state.refuse, {"error": "quota exceeded"})
            else:
                state.runs.append(body)
                self._answer(200, {"run_id": f"r{len(state.runs)}", "display_name": body["display_name"]})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
