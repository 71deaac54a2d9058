"""A stand-in of a container registry, which the default tests have none of: it tells of images, and asks who comes.

It holds images' manifests, indexes and configurations as OCI's image specification and Docker's media types have them.

The real one of Docker is asked in tests/containers/test_push.py.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from support import stand_in

LOGIN = ("ada", "pa:ss")
IDENTITY = "identity-1"
_BASIC = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()

Media = Literal["oci", "docker"]

_INDEX = "application/vnd.oci.image.index.v1+json"
_MEDIA_TYPES: dict[Media, tuple[str, str]] = {
    "oci": (_INDEX, "application/vnd.oci.image.manifest.v1+json"),
    "docker": (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ),
}


class RegistryApi:
    """`images` are `REPOSITORY:TAG` or `REPOSITORY@DIGEST`; `asks` is how a caller must tell who it is."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.content: dict[str, dict[str, Any] | str] = {}
        """Manifests by their image's name, as in `images`; manifests and blobs by digest. A text is no JSON."""
        self.asks: Literal["nothing", "basic", "token", "token of ada"] = "nothing"
        self.status = 0
        """Every question is answered so, unless it is 0."""
        self.token: Any = {"token": "t-1"}
        self.challenge = 'Bearer realm="http://{address}/token",service="here",scope="repository:oc/tools:pull,push"'
        self.is_registry = True
        self.moves = False
        """Whether questions are sent on to another address."""
        self.elsewhere = ""
        """The URL of another server, where blobs lie: many registries send their callers to an object store."""
        self.scopes: list[str] = []
        self.address = ""

    def add(self, name: str, labels: dict[str, str] | None, *, media: Media = "oci") -> None:
        """Hold an image with labels, under a name as in `images`."""
        self.images.add(name)
        self.content[name] = self._manifest("amd64", labels, media)

    def add_index(self, name: str, labels: dict[str, dict[str, str]], *, media: Media = "oci") -> None:
        """Hold an image for several architectures, each with its labels; and an attestation, as BuildKit's have it."""
        entries = [{"digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "unknown"}}]
        for architecture, own in labels.items():
            digest = self._hold(self._manifest(architecture, own, media))
            entries.append({"digest": digest, "platform": {"os": "linux", "architecture": architecture}})
        self.images.add(name)
        self.content[name] = {"schemaVersion": 2, "mediaType": _MEDIA_TYPES[media][0], "manifests": entries}

    def _manifest(self, architecture: str, labels: dict[str, str] | None, media: Media) -> dict[str, Any]:
        config = self._hold({"architecture": architecture, "os": "linux", "config": {"Labels": labels}})
        return {"schemaVersion": 2, "mediaType": _MEDIA_TYPES[media][1], "config": {"digest": config}, "layers": []}

    def _hold(self, document: dict[str, Any]) -> str:
        digest = "sha256:" + hashlib.sha256(json.dumps(document).encode()).hexdigest()
        self.content[digest] = document
        return digest

    def handler(self) -> type[stand_in.Handler]:
        api = self

        class Handler(stand_in.Handler):
            def do_HEAD(self) -> None:
                if self._is_let_in():
                    self._manifest()

            def _is_let_in(self) -> bool:
                if api.status:
                    self.answer(api.status, {})
                elif api.asks == "basic" and self.headers["Authorization"] != _BASIC:
                    self.answer(401, {}, WWW_Authenticate='Basic realm="here"')
                elif api.asks.startswith("token") and self.headers["Authorization"] != "Bearer t-1":
                    self.answer(401, {}, WWW_Authenticate=api.challenge.format(address=api.address))
                elif api.moves and not self.path.startswith("/moved/"):
                    self.answer(307, {}, Location=f"/moved{self.path}")
                else:
                    return True
                return False

            def _manifest(self) -> None:
                repository, _, tag = self.path.removeprefix("/moved").removeprefix("/v2/").partition("/manifests/")
                known = {f"{repository}:{tag}", f"{repository}@{tag}"} & api.images
                if _INDEX not in self.headers["Accept"]:
                    self.answer(404, {})  # registries hide from a caller what it does not accept
                elif known or tag in api.content:
                    self._content(known.pop() if known else tag)
                else:
                    self.answer(404, {})

            def _content(self, name: str) -> None:
                found = api.content.get(name, {})
                self.text(200, found if isinstance(found, str) else json.dumps(found), "application/json")

            def _blob(self) -> None:
                digest = self.path.rpartition("/")[2]
                if api.elsewhere:
                    self.answer(307, {}, Location=f"{api.elsewhere}{self.path}")
                elif digest in api.content:
                    self._content(digest)
                else:
                    self.answer(404, {})

            def do_GET(self) -> None:
                if self.path == "/v2/":
                    self.answer(200 if api.is_registry else 404, {})
                    return
                if "/manifests/" in self.path or "/blobs/" in self.path:
                    if self._is_let_in():
                        self._blob() if "/blobs/" in self.path else self._manifest()
                    return
                api.scopes += parse_qs(urlsplit(self.path).query)["scope"]
                if api.asks == "token of ada" and self.headers["Authorization"] != _BASIC:
                    self.answer(401, {})
                else:
                    self.answer(200, api.token)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                api.scopes += form["scope"]
                known = (form["grant_type"], form["refresh_token"]) == (["refresh_token"], [IDENTITY])
                self.answer(200, {"access_token": "t-1"}) if known else self.answer(401, {})

        return Handler


@pytest.fixture
def registry() -> Iterator[RegistryApi]:
    """The stand-in; `address` is what stands before the images' names."""
    made = RegistryApi()
    with stand_in.serving(made.handler()) as url:
        made.address = url.removeprefix("http://")
        yield made
