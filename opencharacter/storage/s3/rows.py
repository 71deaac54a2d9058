"""The files of a row store in an object store.

A journal is a base object, `journal/WORKER`, and the objects below `journal/WORKER.log/` that were flushed since.
Parts never change, so each is fetched once per machine.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.storage.s3.client import ObjectStore
from opencharacter.storage.s3.lease import Lease, acquire
from opencharacter.system.cache import cache_folder

FLUSH_S = 2.0
"""Journalled calls become durable within this many seconds, plus the time of one request."""

_THREADS = 8
_LOG = ".log/"
_PARTS = "parts/"


class S3RowFiles:
    """`RowFiles` below a prefix of an object store. A writer whose lease has expired cannot write."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._cache = cache_folder("rows", digest([store.endpoint, store.uri()])[:32])
        self._etags: dict[str, str] = {}
        self._leases: list[Lease] = []

    def __str__(self) -> str:
        return self._store.uri()

    def names(self, folder: str) -> list[str]:
        """See `RowFiles.names`."""
        listed = self._store.below(f"{folder}/")
        self._etags |= {entry.key: entry.etag for entry in listed}
        return sorted({entry.key.partition(_LOG)[0] for entry in listed})

    def prefetch(self, names: list[str]) -> None:
        """See `RowFiles.prefetch`."""
        copies = [(name, self._copy(name)) for name in names]
        self._store.download([(name, path) for name, path in copies if not path.exists()])

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `RowFiles.read`."""
        if name.startswith(_PARTS):
            self.prefetch([name])
            with self._copy(name).open("rb", buffering=0) as stream:
                stream.seek(start)
                return stream.read() if length is None else stream.read(length)
        pieces = [name, *(entry.key for entry in self._store.below(f"{name}{_LOG}"))]
        with ThreadPoolExecutor(_THREADS) as threads:  # an hour's journal is many small objects
            data = b"".join(stored.data for stored in threads.map(self._store.get, pieces) if stored)
        return data[start:] if length is None else data[start : start + length]

    def put(self, name: str, data: bytes) -> None:
        """See `RowFiles.put`."""
        self._check()
        self._store.put(name, data)
        self._delete_log(name)

    def create(self, name: str, data: bytes) -> None:
        """See `RowFiles.create`."""
        self._check()
        etag = self._store.put(name, data, if_absent=True)
        if etag is None:
            raise OpenCharacterError(
                f"'{self._store.uri(name)}' was written by another process that makes the same rows",
                hint="wait until one of them ends, then run the same command again",
            )
        self._etags[name] = etag

    def delete(self, name: str) -> None:
        """See `RowFiles.delete`."""
        self._check()
        self._store.delete([name])
        self._delete_log(name)

    def open_log(self, name: str) -> "ObjectLog":
        """See `RowFiles.open_log`."""
        return ObjectLog(self._store, name, self._check)

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """See `RowFiles.lock`. The lock is a lease: it outlives its process by `lease.LEASE_S` at most."""
        self._store.require_conditional_writes()
        lease = acquire(self._store, name, wait=wait)
        if lease is None:
            yield False
            return
        self._leases.append(lease)
        try:
            yield True
        finally:
            self._leases.remove(lease)
            lease.release()

    def _copy(self, part: str) -> Path:
        return self._cache / f"{part.removeprefix(_PARTS)}-{self._etags[part].strip(chr(34))}"

    def _check(self) -> None:
        for lease in self._leases:
            lease.check()

    def _delete_log(self, name: str) -> None:
        self._store.delete(entry.key for entry in self._store.below(f"{name}{_LOG}"))


class ObjectLog:
    """`Log` in an object store, which has no append: the calls of each `FLUSH_S` become one new object.

    `append` returns before the write, so a kill loses the calls of the last flush interval. A later `append`, or
    `close`, raises the error of a failed write. While the store is slow, `append` waits: memory holds at most one
    interval besides the request under way.
    """

    def __init__(self, store: ObjectStore, name: str, check: Callable[[], None]) -> None:
        self._store = store
        self._prefix = f"{name}{_LOG}{uuid.uuid4().hex[:12]}"
        self._check = check
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._due = 0.0
        self._closed = False
        self._error: Exception | None = None
        self._writer = threading.Thread(target=self._write, name=f"journal {name}", daemon=True)
        self._writer.start()

    def append(self, data: bytes) -> None:
        """See `Log.append`."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._waiting or time.monotonic() < self._due)
            if self._error:
                raise self._error
            if not self._waiting:
                self._due = time.monotonic() + FLUSH_S
            self._waiting.append(data)
            self._changed.notify_all()

    def close(self) -> None:
        """See `Log.close`; appended data are durable on return."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._writer.join()
        if self._error:
            raise self._error

    def _write(self) -> None:
        number = 0
        while data := self._next():
            try:
                self._check()
                self._store.put(f"{self._prefix}-{number:06d}", data)
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            number += 1
            with self._changed:
                self._changed.notify_all()

    def _next(self) -> bytes:
        """The next data to write, once they are due; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            while not self._closed and (left := self._due - time.monotonic()) > 0:
                self._changed.wait(left)
            data = b"".join(self._waiting)
            self._waiting = []
            return data
