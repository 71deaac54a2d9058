"""Whether the workspace's bucket takes writes."""

from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.preflight.findings import Finding
from opencharacter.storage.workspace import Workspace


def find_bucket(uri: str) -> Finding:
    """Whether `s3://BUCKET/PREFIX` takes a write with the `AWS_*` variables of this process.

    A small object is made there, `.conditional-writes`.
    """
    subject = f"Bucket {uri}"
    try:
        Workspace(uri).check()
    except OpenCharacterError as error:
        return Finding(subject, "missing", str(error), error.hint)
    return Finding(subject, "ok", "takes writes, and obeys their conditions")
