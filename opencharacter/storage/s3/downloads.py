"""Local copies of objects: step outputs by content, users' objects and folders by ETag."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest, file_digest, tree_digest
from opencharacter.storage.s3.client import DIGEST_METADATA, OBJECT_SCHEME, ObjectStore
from opencharacter.system.cache import cache_folder
from opencharacter.system.locks import file_lock

_THREADS = 8


def output_copy(uri: str, tree: str) -> Path:
    """The folder at `uri`, whose `hashing.tree_digest` is `tree`, on this machine.

    An interrupted fetch continues with the next file. Raises `OpenCharacterError` if the content differs.
    """
    folder = cache_folder("outputs") / tree
    mark = folder.with_name(f"{tree}.complete")
    with file_lock(folder.with_name(f"{folder.name}.lock")):
        if not mark.exists():
            ObjectStore(uri).download_tree("", folder)
            if tree_digest(folder) != tree:
                shutil.rmtree(folder)
                raise _damaged(uri)
            mark.touch()
    return folder


def output_file(uri: str, tree: str, name: str) -> Path:
    """One file of that folder on this machine. If the folder has no such file, the path does not exist."""
    whole = cache_folder("outputs") / tree
    if whole.with_name(f"{tree}.complete").exists():
        return whole / name
    path = cache_folder("outputs") / f"{tree}.files" / name
    with file_lock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            store = ObjectStore(uri)
            if (head := store.head(name)) is not None:
                partial = path.with_name(f"{path.name}.partial")
                store.download([(name, partial)])
                if file_digest(partial) != head["Metadata"].get(DIGEST_METADATA):
                    partial.unlink()
                    raise _damaged(f"{uri}/{name}")
                partial.rename(path)
    return path


def output_part_digest(uri: str, tree: str, part: str) -> str:
    """`hashing.tree_digest` of the folder `part`, from its objects' metadata."""
    store = ObjectStore(f"{uri}/{part}")
    names = sorted((listed.key for listed in store.below("")), key=PurePosixPath)
    with ThreadPoolExecutor(_THREADS) as threads:
        heads = list(threads.map(store.head, names))
    digests = [head and head["Metadata"].get(DIGEST_METADATA) for head in heads]
    if not all(digests):  # copied by a tool that drops metadata
        return tree_digest(output_copy(uri, tree) / part)
    return digest([[name, sha256] for name, sha256 in zip(names, digests, strict=True)])


def _damaged(uri: str) -> OpenCharacterError:
    return OpenCharacterError(
        f"'{uri}': the downloaded files differ from those that were committed",
        hint="run again; if the error returns, delete that prefix: the step makes the output again",
    )


def fetch_object(uri: str) -> Path:
    """A copy of the object, cached by its ETag: a changed object is fetched again.

    Raises `UserError` for a wrong bucket, key or credential, `OpenCharacterError` if the store cannot be reached.
    """
    folder, _, name = uri.removeprefix(OBJECT_SCHEME).rpartition("/")
    if not folder or not name:
        raise UserError(f"'{uri}': expected one object, s3://BUCKET/KEY")
    store = ObjectStore(f"{OBJECT_SCHEME}{folder}")
    head = store.head(name)
    if head is None:
        raise UserError(f"'{uri}': the object store has no such key")
    address = digest([store.endpoint, uri, head["ETag"], head["ContentLength"]])
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
    address = digest([store.endpoint, store.uri(), [[entry.key, entry.etag, entry.size] for entry in listed]])
    target = cache_folder("inputs", "s3") / address[:32]
    mark = target.with_name(f"{target.name}.complete")
    with file_lock(target.with_name(f"{target.name}.lock")):
        if not mark.exists():
            store.download_tree("", target)
            for entry in listed:
                _verify(store, entry.key, target / entry.key)
            mark.touch()
    return target


def _verify(store: ObjectStore, key: str, path: Path) -> None:
    head = store.head(key)
    expected = head and head["Metadata"].get(DIGEST_METADATA)  # only this library writes it
    if expected and file_digest(path) != expected:
        path.unlink()
        raise OpenCharacterError(f"'{store.uri(key)}': the downloaded file differs from the one that was uploaded")
