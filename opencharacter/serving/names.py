"""The names that KServe makes of a service's, and how long they may be.

As KServe 0.20 does it (`PredictorServiceName`, `GetRawServiceLabel`, `GenerateDomainName`): a predictor's Deployment
and Service are called `SERVICE-PREDICTOR-predictor`, its pods' label is that after `isvc.`, and its host's first label
is that and the namespace. Where one of them is longer than 63 characters, KServe makes nothing at all.
"""

LONGEST = 63
"""Characters of a DNS label, and of a label's value."""

_VERSION_DIGITS = 3


def predictor_service(service: str, predictor: str) -> str:
    """Name of a predictor's Deployment and Service. `predictor` is empty for the one without a name of its own."""
    return f"{service}-{predictor}-predictor" if predictor else f"{service}-predictor"


def pod_label(service: str, predictor: str) -> str:
    """Value of the label `app` of a predictor's pods."""
    return "isvc." + predictor_service(service, predictor)


def next_predictor(version: int, current: str) -> str:
    """A predictor name for a version, other than the current one's (which may be another model's same version)."""
    name = f"v{version}"
    return name if name != current else name + "b"


def too_long(service: str, namespace: str | None, version: int = 0) -> str | None:
    """What is wrong with the length of a service's name, none if nothing is.

    There must be room for the next versions' names (three digits), too. Without a namespace, one character is assumed.
    """
    predictor = next_predictor(max(version, 10**_VERSION_DIGITS - 1), "")
    label, host = pod_label(service, predictor), f"{predictor_service(service, predictor)}-{namespace or 'n'}"
    over = max(len(label), len(host)) - LONGEST
    if over <= 0:
        return None
    of = f" in namespace '{namespace}' ({len(namespace)})" if namespace else ""
    longest, what = (host, "the host name") if len(host) >= len(label) and namespace else (label, "a label of the pods")
    return (
        f"service_name '{service}' ({len(service)} characters){of} is too long: KServe makes {what} '{longest}' "
        f"({len(longest)}) of it, and Kubernetes allows {LONGEST}; make it {over} shorter"
    )
