"""Whether container registries hold images, and which library the images hold."""

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from opencharacter.library import LIBRARY_LABEL
from opencharacter.preflight.findings import Finding
from opencharacter.preflight.registry import RemoteImage, remote_image

_REVISION_LABEL = "org.opencontainers.image.revision"


def find_images(references: Iterable[str], *, library: str | None = None) -> list[Finding]:
    """Whether registries hold images, such as `registry.example.com/oc/tools:0.1.0`; nothing is pulled.

    With `library`, a fingerprint, an image whose label names another one `differs`. All images are asked for at once.
    `unknown` where a registry cannot be reached, does not show an image to this machine's credentials, or does not say
    which library it holds.
    """
    # Docker's library warns of an absent credential helper, and then raises what becomes the finding.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        return list(pool.map(partial(_find_image, library=library), references))


def _find_image(reference: str, *, library: str | None) -> Finding:
    subject, registry = f"Image {reference}", "the registry"
    try:
        from docker.auth import resolve_repository_name

        registry, path = resolve_repository_name(reference)
        with remote_image(registry, path) as image:
            status = image.status()
            if status == 200:
                return _compare(subject, image, library) if library else Finding(subject, "ok", "is in the registry")
    except Exception as error:  # a proxy, a helper's output, a name: whatever fails here tells nothing of the image
        message = f"{registry} cannot be asked from here: {str(error) or type(error).__name__}"
        return Finding(subject, "unknown", message)
    if status == 404:
        return Finding(
            subject,
            "missing",
            f"{registry} holds no such image",
            "make images PUSH=images.yaml writes the cluster file's `images`: registry, tag, digests. "
            f"If only members see it: docker login {registry}. If the nodes hold it already: images.pull_policy=Never",
        )
    if status in (401, 403):
        message = f"{registry} does not show it to this machine ({status}): it is private, or not there"
        return Finding(subject, "unknown", message, f"docker login {registry}")
    return Finding(subject, "unknown", f"{registry} answers {status}")


def _compare(subject: str, image: RemoteImage, library: str) -> Finding:
    """Whether an image that is there holds the library that a step of the run asks for."""
    try:
        labels = image.labels()
    except Exception as error:  # no answer, or one that makes no sense: the image itself is there
        why = f"its labels cannot be read: {str(error) or type(error).__name__}"
        return Finding(subject, "unknown", f"is in the registry; which library it holds is unknown, {why}")
    found = labels.get(LIBRARY_LABEL)
    if not found:
        why = f"it has no label {LIBRARY_LABEL}"
        return Finding(subject, "unknown", f"is in the registry; which library it holds is unknown, {why}")
    if found == library:
        return Finding(subject, "ok", f"is in the registry, with library {found}")
    built_from = f", {labels[_REVISION_LABEL]}" if labels.get(_REVISION_LABEL) else ""
    return Finding(
        subject,
        "differs",
        f"holds library {found}, and this is {library}: the steps of a run made here would refuse to work",
        "build the images of this commit: make images PUSH=images.yaml writes the cluster file's `images`. "
        f"Or submit from the commit that the image was built from{built_from}",
    )
