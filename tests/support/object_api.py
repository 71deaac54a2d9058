"""A stand-in of the Kubernetes API that keeps objects: create, read, list by labels, merge, delete with preconditions.

It has no controllers and no schemas: what is written is what is read.
"""

import base64
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support import stand_in


class ObjectApi:
    """`objects` by path, `logs` by pod."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.failures: list[int] = []
        """Statuses that the next requests are answered with."""
        self.dry_runs: list[dict[str, Any]] = []
        self.url = ""
        self._uids = itertools.count(1)

    def put(self, path: str, **metadata: Any) -> dict[str, Any]:
        """Let an object be there, as if another had made it."""
        name = path.rpartition("/")[2]
        self.objects[path] = {"metadata": {"name": name, "uid": f"uid-{next(self._uids)}", **metadata}}
        return self.objects[path]

    def create(self, collection: str, body: dict[str, Any]) -> dict[str, Any]:
        """As a POST does it."""
        body["metadata"]["uid"] = f"uid-{next(self._uids)}"
        if plain := body.pop("stringData", None):  # as it is done to Secrets
            body["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        self.objects[f"{collection}/{body['metadata']['name']}"] = body
        return body

    def select(self, collection: str, labels: str) -> list[dict[str, Any]]:
        """Objects right below a path that fit a selector of `a=b` and `a in (b,c)`."""
        found = [each for path, each in self.objects.items() if path.rpartition("/")[0] == collection]
        return [each for each in found if _fits(each["metadata"].get("labels") or {}, labels)]


def _fits(labels: dict[str, str], selector: str) -> bool:
    if not selector:
        return True
    if " in (" in selector:
        key, _, values = selector.rstrip(")").partition(" in (")
        return labels.get(key) in values.split(",")
    return all(labels.get(key) == value for key, _, value in (part.partition("=") for part in selector.split(",")))


@contextmanager
def object_api() -> Iterator[ObjectApi]:
    """The stand-in, on loopback."""
    api = ObjectApi()

    class Handler(stand_in.Handler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._fails():
                return
            if url.path.endswith("/log"):
                self.text(200, api.logs.get(url.path.split("/")[-2], ""))
            elif url.path in api.objects:
                self.answer(200, api.objects[url.path])
            elif url.path.rpartition("/")[2] in ("pods", "workflows", "trainjobs", "inferenceservices", "events"):
                labels = parse_qs(url.query).get("labelSelector", [""])[0]
                self.answer(200, {"items": api.select(url.path, labels)})
            else:
                self.answer(404, {"kind": "Status", "message": "not found"})

        def do_POST(self) -> None:
            body, url = self.body(), urlsplit(self.path)
            if self._fails():
                return
            if "dryRun" in parse_qs(url.query):
                api.dry_runs.append(body)
                self.answer(201, body)
            elif f"{url.path}/{body['metadata']['name']}" in api.objects:
                self.answer(409, {"kind": "Status", "message": "already exists"})
            else:
                self.answer(201, api.create(url.path, body))

        def do_PATCH(self) -> None:
            body = self.body()
            if not self._fails():
                api.objects[self.path] |= body
                self.answer(200, api.objects[self.path])

        def do_DELETE(self) -> None:
            options, path = self.body(), urlsplit(self.path).path
            if self._fails():
                return
            found = api.objects.get(path)
            wanted = (options.get("preconditions") or {}).get("uid")
            if found is None:
                self.answer(404, {"kind": "Status", "message": "not found"})
            elif wanted and wanted != found["metadata"]["uid"]:
                self.answer(409, {"kind": "Status", "message": "the UID in the precondition does not match"})
            else:
                del api.objects[path]
                self.answer(200, {"kind": "Status"})

        def _fails(self) -> bool:
            if not api.failures:
                return False
            self.answer(api.failures.pop(0), {"kind": "Status", "message": "not well"})
            return True

    with stand_in.serving(Handler) as url:
        api.url = url
        yield api
