"""What the Kubeflow Pipelines server says about a run."""

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.kfp_client import open_client

_PAGE = re.compile(r"(https?://.+?)/?(?:#/|/)runs/details/([^/?#]+).*")
_DASHBOARD = "/_/"
"""What Kubeflow's dashboard puts before the path of the page that it frames."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_TIMEOUT_S = (5, 30)
_LOGS = "/k8s/pod/logs"


class Unanswered(Exception):
    """The server did not answer, or could not just now: to be asked again."""


def named_run(run: str, host: str | None) -> tuple[str, str]:
    """The server's address and the run's id, of an id or of the address of the run's page.

    Raises `UserError` for anything else, or where no address is known.
    """
    if page := _PAGE.fullmatch(run.strip()):
        address = urlsplit(page[1])
        path = address.path.rstrip("/").replace(_DASHBOARD, "/", 1)
        return host or f"{address.scheme}://{address.netloc}{path}", unquote(page[2])
    if not _ID.fullmatch(run.strip()):
        raise UserError(f"'{run}': expected a run's id, or the address of its page, as `pipeline submit` prints them")
    if host is None:
        raise UserError("give --host, the address of the Kubeflow Pipelines API, or the address of the run's page")
    return host, run.strip()


class RunServer:
    """One run on one server."""

    def __init__(self, host: str, run_id: str, *, token: str | None = None) -> None:
        self.host = host.rstrip("/")
        self.run_id = run_id
        # Any namespace does: it keeps the client from asking the server at once, which may be away.
        self._client: Any = open_client(host, token, namespace="unused")

    @property
    def page(self) -> str:
        """The run's page."""
        return f"{self.host}/#/runs/details/{self.run_id}"

    def run(self) -> dict[str, Any]:
        """The run as the API gives it, in JSON.

        Raises `UserError` if there is no such run or no such server, `OpenCharacterError` if the server refuses, and
        `Unanswered` where it makes sense to ask again.
        """
        run = self._read(self._client.runs.run_service_get_run, run_id=self.run_id)
        if not isinstance(run, dict) or "run_id" not in run:
            raise self._no_api()
        if run.get("error") and not run.get("state"):
            raise OpenCharacterError(f"{self.host} cannot show run {self.run_id}: {run['error'].get('message')}")
        return run

    def namespace(self, run: dict[str, Any]) -> str | None:
        """The namespace of the run's experiment, where the server is for several users."""
        try:
            read = self._client.experiments.experiment_service_get_experiment
            experiment = self._read(read, experiment_id=run.get("experiment_id"))
            return str(experiment.get("namespace") or "") or None
        except (OpenCharacterError, Unanswered, AttributeError, ValueError):
            return None

    def pod_log(self, pod: str, namespace: str | None) -> str | None:
        """The log of a pod by the interface's own server, which looks into the archive too; None if it has none.

        Raises `Unanswered` if this address is not the interface's, or it refuses.
        """
        query = [("podname", pod), ("runid", self.run_id), *([("podnamespace", namespace)] if namespace else [])]
        try:
            text = _text(self._call(self._client.runs.run_service_get_run.__self__.api_client.call_api, query))
        except _Refused as error:
            if error.status == 500:  # its answer for a pod that is not there, or has not started
                return None
            raise Unanswered(f"{self.host}{_LOGS} answers {error.status}") from error
        if text.lstrip()[:9].lower() in ("<!doctype", "<html lan", "<html><he"):
            raise Unanswered(f"{self.host} has no {_LOGS}")
        return text

    def _call(self, call_api: Any, query: list[tuple[str, str]]) -> Any:
        return self._guarded(
            call_api,
            _LOGS,
            "GET",
            query_params=query,
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )

    def _read(self, call: Any, **arguments: Any) -> Any:
        try:
            return json.loads(_text(self._guarded(call, **arguments)))
        except ValueError as error:
            raise self._no_api() from error
        except _Refused as error:
            raise self._explained(error) from error

    def _guarded(self, call: Any, *arguments: Any, **named: Any) -> Any:
        import urllib3.exceptions
        from kfp_server_api import ApiException

        try:
            # Raw, since the client's models refuse what they do not know.
            return call(*arguments, _preload_content=False, _request_timeout=_TIMEOUT_S, **named)
        except ApiException as error:
            raise _Refused(error.status or 0, error.reason or "", _words(error.body)) from error
        except (urllib3.exceptions.LocationParseError, urllib3.exceptions.URLSchemeUnknown, ValueError) as error:
            raise UserError(f"'{self.host}' is not an address: {error}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unanswered(f"{_reason(error)}") from error

    def _no_api(self) -> UserError:
        return UserError(
            f"the server at {self.host} is not a Kubeflow Pipelines API",
            hint="is it the API's address, and KF_PIPELINES_TOKEN set if it asks for a login? "
            "Try: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80",
        )

    def _explained(self, refused: "_Refused") -> Exception:
        status, words = refused.status, refused.words
        if status in (408, 429) or status >= 500:
            return Unanswered(f"{status} {refused.reason}")
        if status == 404 and words is None:
            return self._no_api()
        if status in (400, 404):
            return UserError(f"{self.host} has no run {self.run_id}", hint=words)
        hint = "set KF_PIPELINES_TOKEN to a token that is valid" if status in (401, 403) else words
        return OpenCharacterError(f"{self.host} does not show run {self.run_id}: {status} {refused.reason}", hint=hint)


class _Refused(Exception):
    def __init__(self, status: int, reason: str, words: str | None) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.words = words


def _text(answer: Any) -> str:
    return bytes(answer.data).decode(errors="replace")


def _words(body: Any) -> str | None:
    """The server's own words, if they are the API's."""
    try:
        answer = json.loads(body)
    except (TypeError, ValueError):
        return None
    words = answer.get("message") or answer.get("error") if isinstance(answer, dict) else None
    return str(words)[:500] if words else None


def _reason(error: BaseException) -> str:
    """urllib3 packs the cause into what it says of its own tries."""
    cause = getattr(error, "reason", None)
    return str(cause if isinstance(cause, BaseException) else error)
