"""A stand-in of the Kubernetes API, for there is no cluster in the tests: it answers reads and records applies."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml


class KubernetesApi:
    """Reads are answered from `objects`, by path; what is not there is a 404, and what is in `denied` a 403."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.denied: set[str] = set()
        self.applied: list[tuple[str, str | None, dict[str, Any]]] = []
        """Path, content type and body of each server-side apply."""
        self.refuse: int | None = None
        """The status that applies are refused with."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path in stand_in.denied:
                    self._answer(403, {"kind": "Status", "reason": "Forbidden", "message": f"{path} is forbidden"})
                elif found := stand_in.objects.get(path):
                    self._answer(200, found)
                else:
                    self._answer(404, {"kind": "Status", "reason": "NotFound", "message": "no such thing here"})

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand_in.applied.append((self.path, self.headers["Content-Type"], body))
                if stand_in.refuse:
                    self._answer(stand_in.refuse, {"kind": "Status", "message": "no such thing here"})
                else:
                    self._answer(200, body)

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def serve_group(self, group_version: str, *resources: str) -> None:
        """Let discovery tell of an API: `serving.kserve.io/v1beta1`, `inferenceservices`."""
        self.objects[f"/apis/{group_version}"] = {
            "kind": "APIResourceList",
            "groupVersion": group_version,
            "resources": [{"name": resource} for resource in resources],
        }

    def kubeconfig(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """The stand-in, named by the kubeconfig of this test."""
    made = KubernetesApi()
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(made.kubeconfig()))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    yield made
    made.close()
