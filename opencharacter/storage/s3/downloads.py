"""Local copies of what lies in an object store: step outputs by content, users' objects and folders by ETag."""

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

    A fetch that was cut off goes on with the next file. Raises `OpenCharacterError` if the content is another one.
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
    """One file of that folder on this machine. The path of a file that the folder lacks does not exist."""
    whole = cache_folder("outputs") / tree
    if whole.with_name(f"{tree}.complete").exists():
        return whole / name
    path = cache_folder("outputs") / f"{tree}.files" / name
    with file_lock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            store = ObjectStore(uri)
            if (told := store.head(name)) is not None:
                partial = path.with_name(f"{path.name}.partial")
                store.download([(name, partial)])
                if file_digest(partial) != told["Metadata"].get(DIGEST_METADATA):
                    partial.unlink()
                    raise _damaged(f"{uri}/{name}")
                partial.rename(path)
    return path


def output_part_digest(uri: str, tree: str, part: str) -> str:
    """`hashing.tree_digest` of the folder `part`, from what the store tells of its files."""
    store = ObjectStore(f"{uri}/{part}")
    names = sorted((each.key for each in store.below("")), key=PurePosixPath)
    with ThreadPoolExecutor(_THREADS) as threads:
        told = list(threads.map(store.head, names))
    digests = [one and one["Metadata"].get(DIGEST_METADATA) for one in told]
    if not all(digests):  # copied by a tool that drops metadata
        return tree_digest(output_copy(uri, tree) / part)
    return digest([[name, sha256] for name, sha256 in zip(names, digests, strict=True)])


def _damaged(uri: str) -> OpenCharacterError:
    return OpenCharacterError(
        f"'{uri}': what the object store gave is not what was committed there",
        hint="run again; if it comes back, delete that prefix: the step makes it anew",
    )


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
    with file_lock(target.with_name(f"{target.name}.lock")):
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
