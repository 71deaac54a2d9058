"""A Lease in the cluster: one holder at a time, as client-go's leader election has it.

The Python client's own election keeps its record in a ConfigMap's annotation, in local time without a zone, sleeps
where it cannot be stopped and never gives the lock back.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from opencharacter.kube import cluster_client, refused

_TIMEOUT_S = (2, 5)
_HELD_SHARE, _RENEW_SHARE = 2 / 3, 1 / 6


class Lease:
    """A named Lease. `renew` and `held` may be called from two threads."""

    def __init__(
        self, name: str, namespace: str, identity: str, *, duration_s: float, clock: Callable[[], float]
    ) -> None:
        """`identity` is unique to this process; `clock` gives seconds that never run backwards."""
        self._name, self._namespace, self._identity = name, namespace, identity
        self._duration_s = duration_s
        self._clock = clock
        self._held_until = self._asked_at = float("-inf")
        self._observed: tuple[Any, float] | None = None

    @property
    def pause_s(self) -> float:
        """Seconds between two calls of `renew`."""
        return self._duration_s * _RENEW_SHARE

    @property
    def held(self) -> bool:
        """Whether this process may act. That ends well before another process can take the lease."""
        return self._clock() < self._held_until

    def keep(self) -> bool:
        """`renew` if it is time to, else nothing; says whether the lease is held. Raises as `renew` does."""
        return self.renew() if self._clock() - self._asked_at >= self.pause_s else self.held

    def renew(self) -> bool:
        """Take the lease or keep it; says whether it is held.

        Another's lease is taken once it has not changed for its whole duration, by this process's own clock. Raises
        `OpenCharacterError` where the cluster refuses or cannot be reached.
        """
        from kubernetes.client import ApiException

        began = self._asked_at = self._clock()
        with cluster_client("lease") as connection:
            try:
                found = self._read(connection)
                if self._write(connection, found):
                    self._held_until = began + self._duration_s * _HELD_SHARE
                else:
                    self._held_until = float("-inf")
            except ApiException as error:
                if error.status != 409:  # another process was faster
                    raise refused(error, f"use lease {self._namespace}/{self._name}") from error
                self._held_until = float("-inf")
        return self.held

    def release(self) -> None:
        """Give it back, so that another process need not wait. Raises as `renew` does."""
        from kubernetes.client import ApiException, CoordinationV1Api

        self._held_until = float("-inf")
        with cluster_client("lease") as connection:
            try:
                found = self._read(connection)
                if found is None or found["spec"].get("holderIdentity") != self._identity:
                    return
                found["spec"]["holderIdentity"] = ""
                CoordinationV1Api(connection).replace_namespaced_lease(
                    self._name, self._namespace, found, _request_timeout=_TIMEOUT_S, _preload_content=False
                )
            except ApiException as error:
                if error.status != 409:
                    raise refused(error, f"use lease {self._namespace}/{self._name}") from error

    def _read(self, connection: Any) -> dict[str, Any] | None:
        from kubernetes.client import ApiException, CoordinationV1Api

        try:
            answer = CoordinationV1Api(connection).read_namespaced_lease(
                self._name, self._namespace, _request_timeout=_TIMEOUT_S, _preload_content=False
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return dict(json.loads(answer.data))

    def _write(self, connection: Any, found: dict[str, Any] | None) -> bool:
        from kubernetes.client import CoordinationV1Api

        api = CoordinationV1Api(connection)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # the API wants all six digits
        own_record = {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._duration_s), "renewTime": now}
        options = {"_request_timeout": _TIMEOUT_S, "_preload_content": False}
        if found is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": own_record | {"acquireTime": now, "leaseTransitions": 0},
            }
            api.create_namespaced_lease(self._namespace, body, **options)
            return True
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder != self._identity:
            if holder and not self._has_expired(spec):
                return False
            own_record |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        # With the resourceVersion that was read: of two that take it at once, one gets a conflict.
        api.replace_namespaced_lease(self._name, self._namespace, found | {"spec": spec | own_record}, **options)
        return True

    def _has_expired(self, spec: dict[str, Any]) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if self._observed is None or self._observed[0] != record:
            self._observed = (record, self._clock())
        return self._clock() >= self._observed[1] + float(spec.get("leaseDurationSeconds") or self._duration_s)
