"""Fetching objects and folders of S3, or of any store that speaks its protocol (`AWS_ENDPOINT_URL`)."""

from pathlib import Path

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest, file_digest
from opencharacter.storage.cache import cache_folder, exclusive
from opencharacter.storage.s3 import DIGEST_METADATA, OBJECT_SCHEME, ObjectStore


def fetch_object(uri: str) -> Path:
    """A copy of the object, cached by its ETag: an object that changed is fetched anew.

    Raises `UserError` for a wrong bucket, key or credential, `OpenCharacterError` if the store cannot be reached.
    """
    folder, _, name = uri.removeprefix(OBJECT_SCHEME).rpartition("/")
    if not folder or not name:
        raise UserError(f"'{uri}': expected one object, s3://BUCKET/KEY")
    store = ObjectStore(f"{OBJECT_SCHEME}{folder}")
    told = store.head(name)
    if told is None:
        raise UserError(f"'{uri}': the object store has no such key")
    address = digest([store.endpoint, uri, told["ETag"], told["ContentLength"]])
    target = cache_folder("inputs", "s3", address[:32]) / name
    if not target.exists():
        store.download([(name, target)])
    return target


def fetch_folder(uri: str) -> Path:
    """A copy of all objects below the prefix, cached by their names and ETags. Raises as `fetch_object` does."""
    store = ObjectStore(uri)
    listed = store.below("")
    if not listed:
        raise UserError(f"'{uri}': the object store has nothing below that prefix")
    address = digest([store.endpoint, store.uri(), [[each.key, each.etag, each.size] for each in listed]])
    target = cache_folder("inputs", "s3") / address[:32]
    mark = target.with_name(f"{target.name}.complete")
    with exclusive(target):
        if not mark.exists():
            store.download_tree("", target)
            for each in listed:
                _verify(store, each.key, target / each.key)
            mark.touch()
    return target


def _verify(store: ObjectStore, key: str, path: Path) -> None:
    told = store.head(key)
    wanted = told and told["Metadata"].get(DIGEST_METADATA)  # written by this library; others have none
    if wanted and file_digest(path) != wanted:
        path.unlink()
        raise OpenCharacterError(f"'{store.uri(key)}': what the object store gave is not what was written there")
