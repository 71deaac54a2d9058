"""A stand-in of the KFP API server, for there is no cluster in the tests: it records the runs it shall start."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import stand_in


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

    class Handler(stand_in.Handler):
        def do_GET(self) -> None:
            if self.path.startswith("/apis/v2beta1/healthz"):
                self.answer(200, {"multi_user": state.multi_user})
            elif self.path.startswith("/apis/v2beta1/experiments"):
                self.answer(200, {"experiments": []})
            else:
                self.answer(404, {"error": "not found", "code": 5})

        def do_POST(self) -> None:
            body = self.body()
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.path.startswith("/apis/v2beta1/experiments"):
                state.experiments.append(body)
                self.answer(200, {"experiment_id": "e1", "display_name": body["display_name"]})
            elif state.refuse:
                self.answer(state.refuse, {"error": "quota exceeded"})
            else:
                state.runs.append(body)
                self.answer(200, {"run_id": f"r{len(state.runs)}", "display_name": body["display_name"]})

    with stand_in.serving(Handler) as url:
        state.url = url
        yield state
