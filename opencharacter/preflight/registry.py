"""One image in a container registry: whether it is there, and the labels that it was built with.

OCI distribution specification 1.1 and Docker's older media types, with the registries' basic and token authentication
(identity tokens too: OAuth 2's refresh tokens). Credentials are Docker's own: its configuration file and the helpers
that it names.
"""

import base64
import ipaddress
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

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
        told = answer.json()
        if not isinstance(told, dict):
            raise ValueError(f"the registry's answer for {path} is no JSON object")
        return told


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
        (told.get("os"), told.get("architecture")): entry
        for entry in reversed(entries)
        if (told := entry.get("platform") or {}).get("os") != "unknown"
    }
    if not images:
        raise ValueError("its index names no image")
    return images.get(("linux", "amd64")) or list(images.values())[-1]


def _digest_of(descriptor: dict[str, Any]) -> str:
    found = str(descriptor.get("digest"))
    if not _DIGEST.fullmatch(found):
        raise ValueError(f"its manifest names '{found[:80]}' in place of a digest")
    return found


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
        scheme, _, told = refused.headers.get("WWW-Authenticate", "").partition(" ")
        if refused.status_code != 401:
            return
        self._authorization = self._login.basic if scheme.lower() == "basic" else None
        challenge = dict(_CHALLENGE.findall(told)) if scheme.lower() == "bearer" else {}
        if "realm" in challenge:
            wanted = {"scope": self._scope} | {key: challenge[key] for key in ("service", "scope") if key in challenge}
            answer = yield self._token_request(challenge["realm"], wanted)
            self._authorization = _bearer(answer)
        if self._authorization:
            request.headers["Authorization"] = self._authorization
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
