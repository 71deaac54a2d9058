"""A stand-in of the KFP API server, for there is no cluster in the tests: it records the runs it shall start.

Runs are told as `support.kfp_run` has them. Pods' logs are those of the interface's own server, `ml-pipeline-ui`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support import stand_in


class KfpApi:
    """What the server was asked, and how it shall answer a new run (`refuse` is a status code)."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: int | None = None
        self.multi_user = False
        self.experiments: list[dict[str, Any]] = []
        self.told: dict[str, list[dict[str, Any]]] = {}
        """What is answered of a run, one after another; the last for ever."""
        self.outage: list[int] = []
        """The statuses that the next questions for a run are answered with; 0 hangs up."""
        self.namespace = ""
        """The experiments' namespace."""
        self.logs: dict[str, str] | None = {}
        """The pods' logs; none where the address is the API server's own."""
        self.logs_asked: list[tuple[str, str]] = []
        """Pod and namespace."""
        self.on_run: Callable[[], None] = lambda: None
        """Called once a run has been told."""
        self.experiment_name = ""
        self.deleted: list[str] = []
        """Paths of what was deleted, after `/apis/v2beta1/`."""
        self.url = ""


@contextmanager
def kfp_api() -> Iterator[KfpApi]:
    """Serve the v2beta1 routes that `submit` needs, on loopback."""
    state = KfpApi()

    class Handler(stand_in.Handler):
        def do_GET(self) -> None:
            if self.path.startswith("/apis/v2beta1/healthz"):
                self.answer(200, {"multi_user": state.multi_user})
            elif self.path.startswith("/apis/v2beta1/experiments/"):
                told = {"experiment_id": "e1", "display_name": state.experiment_name, "namespace": state.namespace}
                self.answer(200, told)
            elif self.path.startswith("/apis/v2beta1/experiments"):
                named = state.experiment_name and state.experiment_name in unquote(self.path)
                self.answer(200, {"experiments": [{"experiment_id": "e1"}] if named else []})
            elif self.path.startswith("/apis/v2beta1/runs?"):
                left = [run for run in state.told if f"runs/{run}" not in state.deleted]
                self.answer(
                    200, {"runs": [{"run_id": run} for run in left if state.told[run][0]["experiment_id"] == "e1"]}
                )
            elif self.path.startswith("/apis/v2beta1/runs/"):
                self._run(self.path.rpartition("/")[2])
            elif self.path.startswith("/k8s/pod/logs") and state.logs is not None:
                self._log({key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()})
            else:
                self.answer(404, {"error": "not found", "code": 5})

        def _run(self, run_id: str) -> None:
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            if state.outage:
                if status := state.outage.pop(0):
                    self.answer(status, {"error": "not now"})
                return
            told = state.told.get(run_id)
            if not told:
                self.answer(404, {"error": f"Run {run_id} not found", "code": 5, "message": f"Run {run_id} not found"})
            else:
                self.answer(200, told.pop(0) if len(told) > 1 else told[0])
                state.on_run()

        def _log(self, query: dict[str, str]) -> None:
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.logs_asked.append((query["podname"], query.get("podnamespace", "")))
            text = (state.logs or {}).get(query["podname"])
            if text is None:
                self.text(500, "Could not get main container logs: Error: not found")
            else:
                self.text(200, text)

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

        def do_DELETE(self) -> None:
            state.deleted.append(urlsplit(self.path).path.removeprefix("/apis/v2beta1/"))
            self.answer(200, {})

    with stand_in.serving(Handler) as url:
        state.url = url
        yield state
