"""The small languages of a cluster file: quantities, durations and names, as Kubernetes and KFP read them."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_MEMORY_UNITS = {"": 1} | {
    unit: base**power
    for base, units in ((1000, "KMGTP"), (1024, ("Ki", "Mi", "Gi", "Ti", "Pi")))
    for power, unit in enumerate(units, start=1)
}
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600}


def _form(pattern: str, expected: str) -> AfterValidator:
    form = re.compile(pattern)

    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _number_as_text(value: Any) -> Any:
    """`cpu: 4` is YAML's number and Kubernetes' quantity."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _form(r"[0-9]+m|[0-9]+(\.[0-9]+)?", "cores, such as 500m, 2 or 7.5"),
]
"""A Kubernetes quantity of cores."""

Bytes = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _form(
        r"[1-9][0-9]*([KMGTP]i?)?", "a whole quantity of bytes, such as 512Mi or 24Gi (units K, M, G, T, P, Ki … Pi)"
    ),
]
"""A Kubernetes quantity of bytes. KFP takes whole numbers only."""

Duration = Annotated[str, _form(r"[1-9][0-9]*[smh]", "a duration, such as 90s, 10m or 2h")]
"""`90s`, `10m`, `2h`."""

KubernetesName = Annotated[
    str,
    _form(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Kubernetes name: small letters, digits, '-' and '.'"),
]

NAMESPACE = "{namespace}"
"""Stands for the cluster's namespace in a `ClusterName`."""

ClusterName = Annotated[
    str,
    _form(
        r"([a-z0-9]|\{namespace\})([-a-z0-9.]|\{namespace\})*",
        f"a Kubernetes name: small letters, digits, '-' and '.'; {NAMESPACE} stands for the cluster's",
    ),
]
"""Name of an object that the whole cluster shares."""

EnvironmentName = Annotated[str, _form(r"[A-Za-z_][A-Za-z0-9_]*", "a name of an environment variable")]

Digest = Annotated[str, _form(r"sha256:[0-9a-f]{64}", "an image digest: sha256: and 64 hex digits")]

Registry = Annotated[
    str,
    _form(
        r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*",
        "what stands before an image's name, such as registry.example.com/opencharacter",
    ),
]

Tag = Annotated[str, _form(r"(?!latest$)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "the tag that was built, never 'latest'")]

ResourceName = Annotated[
    str,
    _form(r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9._-]*", "a resource of a device plugin, such as nvidia.com/gpu"),
]


def cores(quantity: str) -> float:
    """Cores in a `Cpu`: 0.5 in `500m`."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def byte_count(quantity: str) -> int:
    """Bytes in a `Bytes`: 1024 in `1Ki`."""
    number = quantity.rstrip("KMGTPi")
    return int(number) * _MEMORY_UNITS[quantity[len(number) :]]


def seconds(duration: str) -> int:
    """Seconds in a `Duration`: 600 in `10m`."""
    return int(duration[:-1]) * _DURATION_UNITS[duration[-1]]
