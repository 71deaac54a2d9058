"""Whether the workspace's bucket takes writes."""

from opencharacter.errors import OpenCharacterError
from opencharacter.preflight.findings import Finding
from opencharacter.storage.s3.client import NoSuchBucket
from opencharacter.storage.workspace import Workspace


def find_bucket(uri: str, *, own_keys: bool = True) -> Finding:
    """Whether `s3://BUCKET/PREFIX` takes a write with the `AWS_*` variables of this process.

    A small object is made there, `.conditional-writes`. Where the keys are not those that the run will have, only the
    bucket's absence is told as such; other refusals are `unknown`.
    """
    subject = f"Bucket {uri}"
    try:
        Workspace(uri).check()
    except OpenCharacterError as error:
        sure = own_keys or isinstance(error, NoSuchBucket)
        return Finding(subject, "missing" if sure else "unknown", str(error), error.hint)
    return Finding(subject, "ok", "takes writes, and obeys their conditions")
