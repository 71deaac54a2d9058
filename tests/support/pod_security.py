"""Pod Security Standards, level `restricted`, and this project's own rule: no writable root file system.

Written from the standard's table of controls; it reads a pod template as it would be admitted, defaults included.
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_PROFILES = {"RuntimeDefault", "Localhost"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}


def violations(pod: dict[str, Any], *, read_only_root: bool = True) -> list[str]:
    """What a namespace that enforces `restricted` would refuse of a pod spec (core/v1 PodSpec); empty: nothing."""
    return [*_of_pod(pod), *(fault for each in _containers(pod) for fault in _of_container(each, pod, read_only_root))]


def pod_templates(document: Any) -> Iterator[dict[str, Any]]:
    """Every pod spec in a manifest: whatever has a list `containers` of named images, however deep it lies."""
    if isinstance(document, list):
        for item in document:
            yield from pod_templates(item)
    elif isinstance(document, dict):
        containers = document.get("containers")
        if isinstance(containers, list) and any(isinstance(each, dict) and "name" in each for each in containers):
            yield document
        else:
            for value in document.values():
                yield from pod_templates(value)


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in pod.get(kind) or []]


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is true"
    for volume in pod.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            yield f"volume '{volume['name']}' is a {', '.join(sorted(kinds - _VOLUMES))}"
    context = pod.get("securityContext") or {}
    if context.get("runAsUser") == 0:
        yield "the pod runs as user 0"
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl '{sysctl['name']}'"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "the pod is a host process"


def _of_container(container: dict[str, Any], pod: dict[str, Any], read_only_root: bool) -> Iterator[str]:
    name = container["name"]
    own, shared = container.get("securityContext") or {}, pod.get("securityContext") or {}
    if own.get("privileged"):
        yield f"container '{name}' is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"container '{name}' does not refuse privilege escalation"
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield f"container '{name}' may run as root"
    if own.get("runAsUser") == 0:
        yield f"container '{name}' runs as user 0"
    if own.get("seccompProfile", shared.get("seccompProfile", {})).get("type") not in _PROFILES:
        yield f"container '{name}' has no seccomp profile"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"container '{name}' does not drop all capabilities"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"container '{name}' adds capabilities"
    if own.get("procMount", "Default") != "Default":
        yield f"container '{name}' unmasks /proc"
    if own.get("windowsOptions", {}).get("hostProcess"):
        yield f"container '{name}' is a host process"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield f"container '{name}' opens a port of the host"
    if read_only_root and own.get("readOnlyRootFilesystem") is not True:
        yield f"container '{name}' has a writable root file system"
