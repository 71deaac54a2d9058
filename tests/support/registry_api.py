"""A stand-in of a container registry, which the default tests have none of: it tells of images, and asks who comes.

The real one of Docker is asked in tests/containers/test_push.py.
"""

import base64
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from support import stand_in

LOGIN = ("ada", "pa:ss")
IDENTITY = "identity-1"
_BASIC = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()

_INDEX = "application/vnd.oci.image.index.v1+json"


class RegistryApi:
    """`images` are `REPOSITORY:TAG` or `REPOSITORY@DIGEST`; `asks` is how a caller must tell who it is."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.asks: Literal["nothing", "basic", "token", "token of ada"] = "nothing"
        self.status = 0
        """Every question is answered so, unless it is 0."""
        self.token: Any = {"token": "t-1"}
        self.challenge = 'Bearer realm="http://{address}/token",service="here",scope="repository:oc/tools:pull,push"'
        self.is_registry = True
        self.moves = False
        """Whether questions are sent on to another address."""
        self.scopes: list[str] = []
        self.address = ""

    def handler(self) -> type[stand_in.Handler]:
        api = self

        class Handler(stand_in.Handler):
            def do_HEAD(self) -> None:
                if api.status:
                    self.answer(api.status, {})
                elif api.asks == "basic" and self.headers["Authorization"] != _BASIC:
                    self.answer(401, {}, WWW_Authenticate='Basic realm="here"')
                elif api.asks.startswith("token") and self.headers["Authorization"] != "Bearer t-1":
                    self.answer(401, {}, WWW_Authenticate=api.challenge.format(address=api.address))
                elif api.moves and not self.path.startswith("/moved/"):
                    self.answer(307, {}, Location=f"/moved{self.path}")
                elif _INDEX not in self.headers["Accept"]:  # registries hide from a caller what it does not accept
                    self.answer(404, {})
                else:
                    repository, _, tag = self.path.removeprefix("/moved").removeprefix("/v2/").partition("/manifests/")
                    known = {f"{repository}:{tag}", f"{repository}@{tag}"} & api.images
                    self.answer(200 if known else 404, {})

            def do_GET(self) -> None:
                if self.path == "/v2/":
                    self.answer(200 if api.is_registry else 404, {})
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
