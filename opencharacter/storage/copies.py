"""Local copies of outputs that lie in an object store, by content: fetched once per machine, and verified."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest, file_digest, tree_digest
from opencharacter.storage.cache import cache_folder, exclusive
from opencharacter.storage.s3 import DIGEST_METADATA, ObjectStore

_THREADS = 8


def output_copy(uri: str, tree: str) -> Path:
    """The folder at `uri`, whose `hashing.tree_digest` is `tree`, on this machine.

    A fetch that was cut off goes on with the next file. Raises `OpenCharacterError` if the content is another one.
    """
    folder = cache_folder("outputs") / tree
    mark = folder.with_name(f"{tree}.complete")
    with exclusive(folder):
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
    with exclusive(path):
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
