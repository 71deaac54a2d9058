"""The blind page on which people label answers, served to this machine alone."""

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opencharacter.errors import UserError
from opencharacter.evaluation.judges.agreement import Agreement
from opencharacter.evaluation.judges.labelling import Labelling

_LOOPBACK = "127.0.0.1"
_LONGEST_BODY = 10_000


def label_server(labelling: Labelling, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page; call its `serve_forever`. Port 0 takes a free one. Raises `UserError` if it is taken."""
    page = (resources.files("opencharacter.evaluation.judges") / "label.html").read_bytes()

    class Handler(_Handler):
        pass

    Handler.labelling, Handler.page = labelling, page
    try:
        return ThreadingHTTPServer((_LOOPBACK, port), Handler)
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}", hint="choose another with --port, or leave it out") from error


class _Handler(BaseHTTPRequestHandler):
    labelling: Labelling
    page: bytes

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not self._from_this_machine():
            return
        if address.path == "/":
            self._send(HTTPStatus.OK, self.page, "text/html; charset=utf-8")
        elif address.path == "/task":
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            self._answer(lambda: self._task(query.get("rater", ""), query.get("place"), query.get("after")))
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def do_POST(self) -> None:
        if not self._from_this_machine():
            return
        # Other sites' pages can send forms to this server, and no JSON.
        if self.path != "/label" or self.headers.get_content_type() != "application/json":
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
            return
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(min(int(length), _LONGEST_BODY)) if length.isascii() and length.isdigit() else b""
        self._answer(lambda: self._label(body))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address and the result."""

    def _task(self, rater: str, place: str | None, after: str | None) -> dict[str, Any]:
        shown = int(place) if place is not None else self.labelling.next_place(rater, int(after or -1))
        if shown is None:
            return {
                "finished": True,
                "done": self.labelling.done,
                "agreement": agreement_lines(self.labelling.agreement()),
            }
        return self.labelling.show(rater, shown)

    def _label(self, body: bytes) -> dict[str, Any]:
        given = json.loads(body)
        rater, place = str(given["rater"]), int(given["place"])
        self.labelling.add(rater, place, str(given["choice"]))
        return self._task(rater, None, str(place))

    def _answer(self, make: Callable[[], dict[str, Any]]) -> None:
        try:
            status, content = HTTPStatus.OK, make()
        except (UserError, ValueError, KeyError, TypeError) as error:
            status, content = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        self._send(status, json.dumps(content, ensure_ascii=False).encode(), "application/json")

    def _from_this_machine(self) -> bool:
        """A page of another site may have its name lead here; the header still holds that name."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if host in (_LOOPBACK, "localhost", "::1"):
            return True
        self._send(HTTPStatus.FORBIDDEN, b"this page is for this machine alone\n", "text/plain")
        return False

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def agreement_lines(found: list[Agreement]) -> list[str]:
    """One line for each two raters and task."""
    return [
        f"{kappa.first} and {kappa.second}, {task.task}: weighted kappa {kappa.kappa} over {kappa.kappa.n} answers"
        for task in found
        for kappa in task.kappas
        if kappa.kappa.n
    ]
