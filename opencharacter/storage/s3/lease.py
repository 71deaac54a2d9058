"""Locks in an object store: objects that are written conditionally and renewed while their holder lives."""

import json
import threading
import time
import uuid
from contextlib import suppress

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.s3.client import ObjectStore

LEASE_S = 60.0
"""A holder that has not renewed its lease for this long has lost it. A successor waits no longer."""

_RENEWALS = 4
_POLLS = 60
_ROUNDING_S = 1.0  # an age is the difference of two times in whole seconds


class Lease:
    """A lock that this process holds; a thread renews it until `release`. Get one from `acquire`."""

    def __init__(self, store: ObjectStore, key: str, owner: str, etag: str, until: float) -> None:
        self._store = store
        self._key = key
        self._owner = owner
        self._etag = etag
        self._until = until
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {key}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `OpenCharacterError` if another process may hold the lock now."""
        if time.monotonic() > self._until:
            raise OpenCharacterError(
                f"'{self._store.uri(self._key)}' was not renewed for {LEASE_S:g} s; another worker may hold it now",
                hint="the object store was unreachable, or this process was stopped; run the same command again",
            )

    def release(self) -> None:
        """Release the lock at once."""
        self._ended.set()
        self._thread.join()
        if time.monotonic() < self._until:
            with suppress(OpenCharacterError):  # the lease expires
                self._store.put(self._key, _content(None, 0), if_match=self._etag)

    def _renew(self) -> None:
        number = 0
        while not self._ended.wait(LEASE_S / _RENEWALS):
            began = time.monotonic()
            number += 1
            try:
                etag = self._store.put(self._key, _content(self._owner, number), if_match=self._etag)
            except OpenCharacterError:
                continue  # the next attempt may come in time
            if etag is None:
                self._until = began
                return
            self._etag, self._until = etag, began + LEASE_S


def acquire(store: ObjectStore, key: str, *, wait: bool) -> Lease | None:
    """Take the lock `key` once its holder has released it, or has not renewed it for `LEASE_S`.

    Without `wait`, returns None once the holder is known to be alive: at its next renewal.
    """
    owner = uuid.uuid4().hex
    watched: str | None = None
    while True:
        began = time.monotonic()
        current = store.get(key)
        if current is None:
            etag = store.put(key, _content(owner, 0), if_absent=True)
        elif json.loads(current.data)["owner"] is None or current.age_s > LEASE_S + _ROUNDING_S:
            etag = store.put(key, _content(owner, 0), if_match=current.etag)
        else:
            if not wait and watched not in (None, current.etag):
                return None
            watched, etag = current.etag, None
            time.sleep(LEASE_S / _POLLS)
        if etag is not None:
            return Lease(store, key, owner, etag, began + LEASE_S)


def _content(owner: str | None, number: int) -> bytes:
    return json.dumps({"owner": owner, "renewal": number}).encode()
