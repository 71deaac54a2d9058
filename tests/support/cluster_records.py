"""Leases and Events of the stand-in of the Kubernetes API, with the rules that the API server has for them."""

import re
import threading
from typing import Any

_LEASES = re.compile(r"/apis/coordination\.k8s\.io/v1/namespaces/(?P<namespace>[^/]+)/leases(/(?P<name>[^/]+))?")
_EVENTS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/events")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")

Object = dict[str, Any]
Answer = tuple[int, Object]


class Records:
    """Leases by namespace and name, with resource versions; the Events in the order in which they were made."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], Object] = {}
        self.events: list[Object] = []
        self._version = 0
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: Object | None) -> Answer | None:
        """The answer to a request about leases or events; None if it is about something else."""
        with self._lock:
            if found := _LEASES.fullmatch(path):
                return self._lease(method, found["namespace"], found["name"], body or {})
            if (found := _EVENTS.fullmatch(path)) and method == "POST":
                return self._event(found["namespace"], body or {})
        return None

    def reasons(self) -> list[str]:
        """The reasons of all Events."""
        return [event["reason"] for event in self.events]

    def _lease(self, method: str, namespace: str, name: str | None, body: Object) -> Answer:
        key = (namespace, name or body.get("metadata", {}).get("name", ""))
        found = self.leases.get(key)
        if method == "GET":
            return (200, found) if found else _status(404, "NotFound", f'leases "{key[1]}" not found')
        for field in ("acquireTime", "renewTime"):
            if not _MICRO_TIME.fullmatch(body["spec"].get(field, "2026-01-01T00:00:00.000000Z")):
                return _status(400, "BadRequest", f"Lease in version v1 cannot be handled: parsing time in {field}")
        if body["spec"].get("leaseDurationSeconds", 1) <= 0:
            return _status(422, "Invalid", "spec.leaseDurationSeconds: must be greater than 0")
        if method == "POST" and found:
            return _status(409, "AlreadyExists", f'leases "{key[1]}" already exists')
        if method == "PUT" and not found:
            return _status(404, "NotFound", f'leases "{key[1]}" not found')
        if found and body["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            return _status(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        self._version += 1
        self.leases[key] = body | {"metadata": body["metadata"] | {"resourceVersion": str(self._version)}}
        return (201 if method == "POST" else 200), self.leases[key]

    def _event(self, namespace: str, body: Object) -> Answer:
        about = body["involvedObject"]
        if about.get("namespace") != namespace:
            return _status(422, "Invalid", "involvedObject.namespace: does not match event.namespace")
        if len(body["message"].encode()) > 1024:
            return _status(422, "Invalid", "message: can have at most 1024 characters")
        if any(event["metadata"]["name"] == body["metadata"]["name"] for event in self.events):
            return _status(409, "AlreadyExists", "events already exists")
        self.events.append(body)
        return 201, body


def _status(code: int, reason: str, message: str) -> Answer:
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}
