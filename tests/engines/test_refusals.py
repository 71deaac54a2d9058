"""A refusal of the Kubernetes API keeps the server's own words, and a denial is no missing permission."""

import json
from http.client import responses

import pytest
from kubernetes.client import ApiException

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.kube import Cause, cause_of, refused


def _error(status: int, message: str | None = None, text: str | None = None, kind: str = "trainjobs") -> ApiException:
    error = ApiException(status=status, reason=responses[status])
    details = {"name": "x", "kind": kind}
    error.body = text if message is None else json.dumps({"kind": "Status", "message": message, "details": details})
    return error


# As kubernetes/apiserver words them: pkg/endpoints/handlers/responsewriters/errors.go, pkg/admission/plugin/webhook/
# errors/statuserror.go, pkg/admission/plugin/policy/validating/dispatcher.go, pkg/admission/errors.go.
RBAC = (
    'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:team:pipeline-runner" cannot create'
    ' resource "trainjobs" in API group "trainer.kubeflow.org" in the namespace "team"'
)
WEBHOOK = 'admission webhook "vtrainjob.kb.io" denied the request: spec.runtimeRef: Invalid value: "x": not found'
POLICY = "trainjobs \"x\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'all' denied request: no"
QUOTA = 'pods "x" is forbidden: exceeded quota: team, requested: cpu=8, used: cpu=2, limited: cpu=8'


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (_error(403, RBAC), Cause.RIGHTS),
        (_error(403, 'forbidden: User "system:anonymous" cannot get path "/apis/x"'), Cause.RIGHTS),
        (_error(403, text="Forbidden by the proxy"), Cause.RIGHTS),
        (_error(403, WEBHOOK), Cause.ADMISSION),
        (_error(403, POLICY), Cause.ADMISSION),
        (_error(403, QUOTA), Cause.ADMISSION),
        (_error(422, POLICY), Cause.INVALID),
        (_error(400, 'TrainJob in version "v1alpha1" cannot be handled: unknown field "spec.x"'), Cause.INVALID),
        (_error(401, "Unauthorized"), Cause.LOGIN),
        (_error(404, 'namespaces "team" not found', kind="namespaces"), Cause.NO_NAMESPACE),
        (_error(404, text="404 page not found\n"), Cause.NO_RESOURCE),
    ],
)
def test_the_words_stay_and_the_cause_is_known(error: ApiException, cause: Cause) -> None:
    assert cause_of(error) is cause
    found = refused(error, "create trainjobs in namespace team", hints={cause: "do this"})
    assert isinstance(found, UserError)
    assert found.hint == "do this"
    assert "create trainjobs in namespace team" in str(found)
    words = json.loads(error.body)["message"] if error.body.startswith("{") else error.body.strip()
    assert words in str(found)


def test_a_denial_is_not_worded_as_a_missing_permission() -> None:
    denied = refused(_error(403, WEBHOOK), "create trainjobs", hints={Cause.RIGHTS: "ask for rights"})
    assert denied.hint is None
    assert "account" not in str(denied)


def test_the_servers_own_trouble_is_no_mistake_of_the_users() -> None:
    message = 'Internal error occurred: failed calling webhook "vtrainjob.kb.io": connection refused'
    found = refused(_error(500, message), "create trainjobs")
    assert type(found) is OpenCharacterError
    assert message in str(found)


def test_a_page_of_a_proxy_is_not_repeated() -> None:
    page = "<html><body>" + "blocked " * 99 + "</body></html>"
    assert str(refused(_error(403, text=page), "create trainjobs")).endswith("create trainjobs: Forbidden")
