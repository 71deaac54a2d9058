"""Asking container registries whether they hold images.

OCI distribution specification 1.1, with the registries' basic and token authentication (identity tokens too: OAuth 2's
refresh tokens). Credentials are Docker's own: its configuration file and the helpers that it names.
"""

import base64
import ipaddress
import re
import warnings
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx

from opencharacter.pipelines.preflight.findings import Finding

_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT_S = 15
_DOCKER_HUB = "registry-1.docker.io"


def find_images(references: Iterable[str]) -> list[Finding]:
    """Whether registries hold images, such as `registry.example.com/oc/tools:0.1.0`; nothing is pulled.

    All are asked at once. `unknown` where a registry cannot be reached, or does not show an image to this machine's
    credentials.
    """
    # Docker's library warns of an absent credential helper, and then raises what becomes the finding.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        return list(pool.map(_find_image, references))


def _find_image(reference: str) -> Finding:
    subject, registry = f"Image {reference}", "the registry"
    try:
        from docker.auth import resolve_repository_name

        registry, path = resolve_repository_name(reference)
        status = _ask(registry, path)
    except Exception as error:  # a proxy, a helper's output, a name: whatever fails here tells nothing of the image
        message = f"{registry} cannot be asked from here: {str(error) or type(error).__name__}"
        return Finding(subject, "unknown", message)
    if status == 200:
        return Finding(subject, "ok", "is in the registry")
    if status == 404:
        return Finding(
            subject,
            "missing",
            f"{registry} holds no such image",
            "make images PUSH=images.yaml writes the profile's `images`: registry, tag, digests. "
            f"If only members see it: docker login {registry}. If the nodes hold it already: images.pull_policy=Never",
        )
    if status in (401, 403):
        message = f"{registry} does not show it to this machine ({status}): it is private, or not there"
        return Finding(subject, "unknown", message, f"docker login {registry}")
    return Finding(subject, "unknown", f"{registry} answers {status}")


def _ask(registry: str, path: str) -> int:
    """The status that the registry answers with when it is asked for the image's manifest."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(path)
    host = registry
    if registry == "docker.io":
        host, repository = _DOCKER_HUB, repository if "/" in repository else f"library/{repository}"
    local = _is_loopback(host)
    root = f"{'http' if local else 'https'}://{host}/v2/"
    auth = _RegistryAuth(_login(registry), f"repository:{repository}:pull")
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, trust_env=not local) as client:
        url = f"{root}{repository}/manifests/{tag or 'latest'}"
        status = client.head(url, headers={"Accept": _ACCEPTED}, auth=auth).status_code
        if status == 404 and client.get(root).status_code not in (200, 401):
            raise httpx.ProtocolError("what answers there is no registry")
        return status


class _Login(NamedTuple):
    """What Docker knows of an account: a name with its password, as an HTTP header, or a token in their place."""

    basic: str | None
    identity: str | None


def _login(registry: str) -> _Login:
    from docker.auth import load_config

    known = load_config().resolve_authconfig(registry) or {}
    # Docker's own file gives the first spelling, credential helpers the second.
    user, password = (known.get(key.lower()) or known.get(key) for key in ("Username", "Password"))
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return _Login(basic=f"Basic {text}" if user and password else None, identity=known.get("IdentityToken"))


class _RegistryAuth(httpx.Auth):
    """Answers a registry's challenge: with the login, or with a token from the server that the challenge names."""

    requires_response_body = True

    def __init__(self, login: _Login, scope: str) -> None:
        self._login = login
        self._scope = scope

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        refused = yield request
        scheme, _, told = refused.headers.get("WWW-Authenticate", "").partition(" ")
        if refused.status_code != 401:
            return
        authorization = self._login.basic if scheme.lower() == "basic" else None
        challenge = dict(_CHALLENGE.findall(told)) if scheme.lower() == "bearer" else {}
        if "realm" in challenge:
            wanted = {"scope": self._scope} | {key: challenge[key] for key in ("service", "scope") if key in challenge}
            answer = yield self._token_request(challenge["realm"], wanted)
            authorization = _bearer(answer)
        if authorization:
            request.headers["Authorization"] = authorization
        yield request

    def _token_request(self, realm: str, wanted: dict[str, str]) -> httpx.Request:
        if self._login.identity:
            grant = {"grant_type": "refresh_token", "refresh_token": self._login.identity, "client_id": "opencharacter"}
            return httpx.Request("POST", realm, data=wanted | grant)
        headers = {"Authorization": self._login.basic} if self._login.basic else {}
        return httpx.Request("GET", httpx.URL(realm).copy_merge_params(wanted), headers=headers)


def _bearer(answer: httpx.Response) -> str | None:
    try:
        told = answer.json() if answer.is_success else {}
    except ValueError:
        return None
    token = isinstance(told, dict) and (told.get("token") or told.get("access_token"))
    return f"Bearer {token}" if token else None


def _is_loopback(host: str) -> bool:
    """Registries of this machine speak plain HTTP, as Docker takes for granted too."""
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"
