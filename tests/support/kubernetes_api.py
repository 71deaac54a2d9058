"""A stand-in of the Kubernetes API, for there is no cluster in the tests: it answers reads and records applies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import stand_in
from support.cluster_records import Records


class KubernetesApi:
    """Reads are answered from `objects`, by path; what is not there is a 404, and what is in `denied` a 403."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        """Pods' logs, by path."""
        self.denied: set[str] = set()
        self.applied: list[tuple[str, str | None, dict[str, Any]]] = []
        """Path, content type and body of each server-side apply."""
        self.refuse: int | None = None
        """The status that applies are refused with."""
        self.records = Records()
        """Leases and Events."""

    def serve_group(self, group_version: str, *resources: str) -> None:
        """Let discovery tell of an API: `serving.kserve.io/v1beta1`, `inferenceservices`."""
        self.objects[f"/apis/{group_version}"] = {
            "kind": "APIResourceList",
            "groupVersion": group_version,
            "resources": [{"name": resource} for resource in resources],
        }

    def handler(self) -> type[stand_in.Handler]:
        api = self

        class Handler(stand_in.Handler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if self._is_record("GET"):
                    return
                if path in api.denied:
                    self.answer(403, {"kind": "Status", "reason": "Forbidden", "message": f"{path} is forbidden"})
                elif text := api.texts.get(path):
                    self.text(200, text)
                elif found := api.objects.get(path):
                    self.answer(200, found)
                else:
                    self.answer(404, {"kind": "Status", "reason": "NotFound", "message": "no such thing here"})

            def do_POST(self) -> None:
                if not self._is_record("POST", self.body()):
                    self.answer(404, {"kind": "Status", "reason": "NotFound", "message": "no such thing here"})

            def do_PUT(self) -> None:
                if not self._is_record("PUT", self.body()):
                    self.answer(404, {"kind": "Status", "reason": "NotFound", "message": "no such thing here"})

            def _is_record(self, method: str, body: dict[str, Any] | None = None) -> bool:
                answer = api.records.answer(method, self.path.partition("?")[0], body)
                if answer:
                    self.answer(*answer)
                return answer is not None

            def do_PATCH(self) -> None:
                body = self.body()
                api.applied.append((self.path, self.headers["Content-Type"], body))
                if api.refuse:
                    self.answer(api.refuse, {"kind": "Status", "message": "no such thing here"})
                else:
                    self.answer(200, body)

        return Handler


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """The stand-in, named by the kubeconfig of this test."""
    made = KubernetesApi()
    with stand_in.serving(made.handler()) as url:
        stand_in.use_kubeconfig(url, tmp_path, monkeypatch)
        yield made
