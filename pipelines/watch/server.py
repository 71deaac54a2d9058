"""What the Kubeflow Pipelines server says about a run."""

import re
from typing import Any
from urllib.parse import unquote

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.kfp_client import (
    NO_API_HINT,
    KfpServer,
    NotTheApi,
    Refused,
    Unanswered,
    api_address,
    not_the_api,
)

_PAGE = re.compile(r"(https?://.+?)/?(?:#/|/)runs/details/([^/?#]+).*")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_LOGS = "/k8s/pod/logs"


def named_run(run: str, host: str | None) -> tuple[str, str]:
    """The server's address and the run's id, of an id or of the address of the run's page.

    Raises `UserError` for anything else, or where no address is known.
    """
    if page := _PAGE.fullmatch(run.strip()):
        return host or api_address(page[1]), unquote(page[2])
    if not _ID.fullmatch(run.strip()):
        raise UserError(f"'{run}': expected a run's id, or the address of its page, as `pipeline submit` prints them")
    if host is None:
        raise UserError("give --host, the address of the Kubeflow Pipelines API, or the address of the run's page")
    return host, run.strip()


class RunServer:
    """One run on one server."""

    def __init__(self, host: str, run_id: str, *, token: str | None = None) -> None:
        self.run_id = run_id
        self._server = KfpServer(host, token)
        self.host = self._server.host

    @property
    def page(self) -> str:
        """The run's page."""
        return f"{self.host}/#/runs/details/{self.run_id}"

    def run(self) -> dict[str, Any]:
        """The run as the API gives it, in JSON.

        Raises `UserError` if there is no such run or no such server, `OpenCharacterError` if the server refuses, and
        `Unanswered` where it makes sense to ask again.
        """
        try:
            run = self._server.read(self._server.client.runs.run_service_get_run, run_id=self.run_id)
            if "run_id" not in run:
                raise NotTheApi("its answer has no run_id")
        except NotTheApi as error:
            raise UserError(not_the_api(self.host, error), hint=NO_API_HINT) from error
        except Refused as error:
            raise self._explained(error) from error
        if run.get("error") and not run.get("state"):
            raise OpenCharacterError(f"{self.host} cannot show run {self.run_id}: {run['error'].get('message')}")
        return run

    def namespace(self, run: dict[str, Any]) -> str | None:
        """The namespace of the run's experiment, where the server is for several users."""
        try:
            read = self._server.client.experiments.experiment_service_get_experiment
            experiment = self._server.read(read, experiment_id=run.get("experiment_id"))
            return str(experiment.get("namespace") or "") or None
        except (OpenCharacterError, Unanswered, NotTheApi, Refused, ValueError):
            return None

    def pod_log(self, pod: str, namespace: str | None) -> str | None:
        """The log of a pod by the interface's own server, which looks into the archive too; None if it has none.

        Raises `Unanswered` if this address is not the interface's, or it refuses.
        """
        query = [("podname", pod), ("runid", self.run_id), *([("podnamespace", namespace)] if namespace else [])]
        try:
            return self._server.text(_LOGS, query)
        except Refused as error:
            if error.status == 500:  # its answer for a pod that is not there, or has not started
                return None
            raise Unanswered(f"{self.host}{_LOGS} answers {error.status}") from error
        except NotTheApi as error:
            raise Unanswered(f"{self.host} has no {_LOGS}") from error

    def _explained(self, refused: Refused) -> Exception:
        if refused.status in (408, 429) or refused.status >= 500:
            return Unanswered(str(refused))
        if refused.status in (400, 404):
            return UserError(f"{self.host} has no run {self.run_id}", hint=refused.words)
        return OpenCharacterError(f"{self.host} does not show run {self.run_id}: {refused}", hint=refused.hint)
