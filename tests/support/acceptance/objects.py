"""What the acceptance suite puts beside the product: queues, a proxy before the store, a load, a database."""

from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
GATE = "kueue.x-k8s.io/admission"
STORE_PORT = 9000

_KUEUE = "kueue.x-k8s.io/v1beta2"
_USER = 65532

_PROXY = """
import asyncio, sys
async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(reader, writer):
    try:
        there = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[3]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""

_LOAD = """
import json, os, sys, threading, time, urllib.request
url, body, seconds = sys.argv[1], sys.argv[2].encode(), float(sys.argv[3])
end, lock, sent, failures = time.time() + seconds, threading.Lock(), [0], []
def ask():
    while time.time() < end and not os.path.exists("/tmp/stop"):
        with lock:
            sent[0] += 1
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = json.load(answer)["choices"][0]["message"]["content"]
            if not text:
                raise ValueError("an empty answer")
        except Exception as error:
            with lock:
                failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
        with lock:
            if sent[0] % 10 == 1:
                print(f"{sent[0]} requests, {len(failures)} failures", flush=True)
threads = [threading.Thread(target=ask) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps({"sent": sent[0], "failures": failures[:20]}), flush=True)
"""

_PROBE = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()
"""

STOP_LOAD = ("touch", "/tmp/stop")
"""What ends the load, run in its container."""


def flavor(name: str) -> Object:
    """A ResourceFlavor that stands for any node."""
    return {"apiVersion": _KUEUE, "kind": "ResourceFlavor", "metadata": {"name": name}, "spec": {}}


def cluster_queue(name: str, namespace: str) -> Object:
    """A ClusterQueue with the quota of this suite, for one namespace."""
    quotas = [{"name": "cpu", "nominalQuota": "8"}, {"name": "memory", "nominalQuota": "20Gi"}]
    return {
        "apiVersion": _KUEUE,
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceGroups": [
                {"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": quotas}]},
            ],
        },
    }


def local_queue(name: str, cluster: str) -> Object:
    """A LocalQueue that admits nothing until its `stopPolicy` is None."""
    return {
        "apiVersion": _KUEUE,
        "kind": "LocalQueue",
        "metadata": {"name": name},
        "spec": {"clusterQueue": cluster, "stopPolicy": "Hold"},
    }


def proxy(name: str, endpoint: str, image: str, pull_policy: str) -> tuple[Object, Object]:
    """Deployment and Service of a TCP proxy before an object store: scaled to zero, the store is away.

    It passes bytes on as they are, so the store has to speak plain HTTP and take another host name than its own.
    """
    address = urlsplit(endpoint)
    host, port = str(address.hostname), str(address.port or 80)
    container = _container("proxy", image, pull_policy, ["python", "-c", _PROXY, host, port, str(STORE_PORT)])
    container["ports"] = [{"containerPort": STORE_PORT, "protocol": "TCP"}]
    container["readinessProbe"] = {"tcpSocket": {"port": STORE_PORT}, "periodSeconds": 1}
    labels = {"app": name}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod([container]) | {"terminationGracePeriodSeconds": 1},
            },
        },
    }
    return deployment, _service(name, labels, STORE_PORT)


def load(name: str, url: str, body: str, seconds: int, image: str, pull_policy: str) -> Object:
    """A pod that asks an endpoint one question after another, two at a time; its last line counts the failures."""
    container = _container("load", image, pull_policy, ["python", "-c", _LOAD, url, body, str(seconds)])
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": _pod([container]) | {"restartPolicy": "Never", "volumes": [{"name": "tmp", "emptyDir": {}}]},
    }


def probe(name: str, host: str, port: int, image: str, pull_policy: str) -> Object:
    """A pod that succeeds if it can connect, and fails if it cannot within 10 s."""
    container = _container("probe", image, pull_policy, ["python", "-c", _PROBE, host, str(port)])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": _pod([container]) | {"restartPolicy": "Never"},
    }


def no_way_in(name: str) -> Object:
    """A NetworkPolicy that lets nothing into any pod of its namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


def database(name: str, image: str, password: str) -> tuple[Object, Object]:
    """Deployment and Service of a PostgreSQL that forgets everything with its pod."""
    labels = {"app": name}
    container = {
        "name": "postgres",
        "image": image,
        "env": [
            {"name": "POSTGRES_USER", "value": "mlflow"},
            {"name": "POSTGRES_PASSWORD", "value": password},
            {"name": "POSTGRES_DB", "value": "mlflow"},
            {"name": "PGDATA", "value": "/var/lib/postgresql/run/data"},
        ],
        "ports": [{"containerPort": 5432, "protocol": "TCP"}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "--username", "mlflow"]}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql/run"}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [container],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }
    return deployment, _service(name, labels, 5432)


def _service(name: str, labels: dict[str, str], port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port, "protocol": "TCP"}]},
    }


def _pod(containers: list[Object]) -> Object:
    context = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {"automountServiceAccountToken": False, "securityContext": context, "containers": containers}


def _container(name: str, image: str, pull_policy: str, command: list[str]) -> Object:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": command,
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def as_admitted(pod: Object, name: str, containers: set[str] | None = None) -> Object:
    """A pod as it could be created anew: its spec without what the cluster has added, and some containers only."""
    spec = {key: value for key, value in pod["spec"].items() if key not in _CLUSTERS_OWN}
    for kind in ("containers", "initContainers"):
        kept = [_without_token(each) for each in spec.get(kind) or [] if not containers or each["name"] in containers]
        spec[kind] = kept
    if not spec["initContainers"]:
        del spec["initContainers"]
    spec["volumes"] = [each for each in spec.get("volumes") or [] if not each["name"].startswith("kube-api-access-")]
    spec["automountServiceAccountToken"] = False
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


_CLUSTERS_OWN = {
    "nodeName",
    "serviceAccount",
    "serviceAccountName",
    "priority",
    "priorityClassName",
    "preemptionPolicy",
    "schedulingGates",
    "imagePullSecrets",
    "hostname",
    "subdomain",
}


def _without_token(container: Object) -> Object:
    mounts = [each for each in container.get("volumeMounts") or [] if not each["name"].startswith("kube-api-access-")]
    return container | {"volumeMounts": mounts}
