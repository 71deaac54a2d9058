"""Whether container registries hold images, and which library the images hold.

OCI distribution specification 1.1 and Docker's older media types, with the registries' basic and token authentication
(identity tokens too: OAuth 2's refresh tokens). Credentials are Docker's own: its configuration file and the helpers
that it names.
"""

import base64
import ipaddress
import re
import warnings
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx

from opencharacter.cluster.checks import Issue
from opencharacter.library import LIBRARY_LABEL

_REVISION_LABEL = "org.opencontainers.image.revision"
_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-zA-Z=_-]+")
_TIMEOUT_S = 15
_DOCKER_HUB = "registry-1.docker.io"
_INDEX_DEPTH = 3
"""How many indexes may lie inside one another."""


class RemoteImage:
    """An image by its name; get one from `remote_image`. Failing requests raise `httpx.HTTPError`."""

    def __init__(self, client: httpx.Client, root: str, repository: str, tag: str) -> None:
        self._client = client
        self._root = root
        self._repository = f"{root}{repository}"
        self._tag = tag

    def status(self) -> int:
        """The status that the registry answers with when it is asked for the image's manifest; 200 if it has it."""
        # HEAD, since Docker Hub counts each GET of a manifest as a pull.
        url = f"{self._repository}/manifests/{self._tag}"
        status = self._client.head(url, headers={"Accept": _ACCEPTED}).status_code
        if status == 404 and self._client.get(self._root, auth=None).status_code not in (200, 401):
            raise httpx.ProtocolError("what answers there is no registry")
        return status

    def labels(self) -> dict[str, str]:
        """The image's labels; of an image for several platforms, those for linux/amd64 (or else the first platform).

        Raises `ValueError` for a manifest that cannot be understood.
        """
        manifest = self._manifest(self._tag)
        for _ in range(_INDEX_DEPTH):
            if "manifests" not in manifest:
                break
            manifest = self._manifest(_digest_of(_platform(manifest["manifests"])))
        if "config" not in manifest:
            raise ValueError("its manifest names no configuration")
        config = self._json(f"blobs/{_digest_of(manifest['config'])}")
        labels = (config.get("config") or {}).get("Labels") or {}
        return {str(key): str(value) for key, value in labels.items()}

    def _manifest(self, reference: str) -> dict[str, Any]:
        return self._json(f"manifests/{reference}", accept=_ACCEPTED)

    def _json(self, path: str, *, accept: str = "*/*") -> dict[str, Any]:
        answer = self._client.get(f"{self._repository}/{path}", headers={"Accept": accept})
        if not answer.is_success:
            raise ValueError(f"the registry answers {answer.status_code} for its {path.partition('/')[0].rstrip('s')}")
        body = answer.json()
        if not isinstance(body, dict):
            raise ValueError(f"the registry's answer for {path} is no JSON object")
        return body


@contextmanager
def remote_image(registry: str, path: str) -> Iterator[RemoteImage]:
    """The image `path` (`oc/tools:0.1.0`, `oc/tools@sha256:…`) of a registry; nothing is asked yet."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(path)
    host = registry
    if registry == "docker.io":
        host, repository = _DOCKER_HUB, repository if "/" in repository else f"library/{repository}"
    local = _is_loopback(host)
    root = f"{'http' if local else 'https'}://{host}/v2/"
    auth = _RegistryAuth(_login(registry), f"repository:{repository}:pull")
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, trust_env=not local, auth=auth) as client:
        yield RemoteImage(client, root, repository, tag or "latest")


def _platform(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry of an index to look at. Attestations, which BuildKit puts beside the images, have no platform."""
    images = {
        (platform.get("os"), platform.get("architecture")): entry
        for entry in reversed(entries)
        if (platform := entry.get("platform") or {}).get("os") != "unknown"
    }
    if not images:
        raise ValueError("its index names no image")
    return images.get(("linux", "amd64")) or list(images.values())[-1]


def _digest_of(descriptor: dict[str, Any]) -> str:
    digest = str(descriptor.get("digest"))
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"its manifest names '{digest[:80]}' in place of a digest")
    return digest


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
        self._authorization: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        refused = yield request
        scheme, _, parameters = refused.headers.get("WWW-Authenticate", "").partition(" ")
        if refused.status_code != 401:
            return
        self._authorization = self._login.basic if scheme.lower() == "basic" else None
        challenge = dict(_CHALLENGE.findall(parameters)) if scheme.lower() == "bearer" else {}
        if "realm" in challenge:
            query = {"scope": self._scope} | {key: challenge[key] for key in ("service", "scope") if key in challenge}
            answer = yield self._token_request(challenge["realm"], query)
            self._authorization = _bearer(answer)
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        yield request

    def _token_request(self, realm: str, query: dict[str, str]) -> httpx.Request:
        if self._login.identity:
            grant = {"grant_type": "refresh_token", "refresh_token": self._login.identity, "client_id": "opencharacter"}
            return httpx.Request("POST", realm, data=query | grant)
        headers = {"Authorization": self._login.basic} if self._login.basic else {}
        return httpx.Request("GET", httpx.URL(realm).copy_merge_params(query), headers=headers)


def _bearer(answer: httpx.Response) -> str | None:
    try:
        body = answer.json() if answer.is_success else {}
    except ValueError:
        return None
    token = isinstance(body, dict) and (body.get("token") or body.get("access_token"))
    return f"Bearer {token}" if token else None


def _is_loopback(host: str) -> bool:
    """Registries of this machine speak plain HTTP, as Docker takes for granted too."""
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def check_images(references: Iterable[str], *, library: str | None = None) -> list[Issue]:
    """Whether registries hold images, such as `registry.example.com/oc/tools:0.1.0`; nothing is pulled.

    With `library`, a fingerprint, an image whose label names another one `differs`. All images are asked for at once.
    `unknown` where a registry cannot be reached, does not show an image to this machine's credentials, or does not say
    which library it holds.
    """
    # Docker's library warns of an absent credential helper, and then raises what becomes the finding.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        return list(pool.map(partial(_check_image, library=library), references))


def _check_image(reference: str, *, library: str | None) -> Issue:
    subject, registry = f"Image {reference}", "the registry"
    try:
        from docker.auth import resolve_repository_name

        registry, path = resolve_repository_name(reference)
        with remote_image(registry, path) as image:
            status = image.status()
            if status == 200:
                return _compare(subject, image, library) if library else Issue(subject, "ok", "is in the registry")
    except Exception as error:  # a proxy, a helper's output, a name: whatever fails here tells nothing of the image
        message = f"{registry} cannot be asked from here: {str(error) or type(error).__name__}"
        return Issue(subject, "unknown", message)
    if status == 404:
        return Issue(
            subject,
            "missing",
            f"{registry} holds no such image",
            "make images PUSH=images.yaml writes the cluster file's `images`: registry, tag, digests. "
            f"If only members see it: docker login {registry}. If the nodes hold it already: images.pull_policy=Never",
        )
    if status in (401, 403):
        message = f"{registry} does not show it to this machine ({status}): it is private, or not there"
        return Issue(subject, "unknown", message, f"docker login {registry}")
    return Issue(subject, "unknown", f"{registry} answers {status}")


def _compare(subject: str, image: RemoteImage, library: str) -> Issue:
    """Whether an image that is there holds the library that a step of the run asks for."""
    try:
        labels = image.labels()
    except Exception as error:  # no answer, or one that makes no sense: the image itself is there
        why = f"its labels cannot be read: {str(error) or type(error).__name__}"
        return Issue(subject, "unknown", f"is in the registry; which library it holds is unknown, {why}")
    held = labels.get(LIBRARY_LABEL)
    if not held:
        why = f"it has no label {LIBRARY_LABEL}"
        return Issue(subject, "unknown", f"is in the registry; which library it holds is unknown, {why}")
    if held == library:
        return Issue(subject, "ok", f"is in the registry, with library {held}")
    built_from = f", {labels[_REVISION_LABEL]}" if labels.get(_REVISION_LABEL) else ""
    return Issue(
        subject,
        "differs",
        f"holds library {held}, and this is {library}: the steps of a run made here would refuse to work",
        "build the images of this commit: make images PUSH=images.yaml writes the cluster file's `images`. "
        f"Or submit from the commit that the image was built from{built_from}",
    )
