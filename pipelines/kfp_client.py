"""The client of a Kubeflow Pipelines server."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import kfp


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what the client prints: links for notebooks, and warnings of what it takes for granted."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def open_client(host: str, token: str | None = None, *, namespace: str | None = None) -> "kfp.Client":
    """A client of the server at `host`, with a bearer token if it asks for one.

    Without a namespace the client asks the server whether it is for several users, several times if it must.
    """
    import kfp

    with quiet():
        return kfp.Client(host=host, existing_token=token, **({"namespace": namespace} if namespace else {}))
