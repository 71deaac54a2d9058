"""What stands behind the name of an endpoint, so that replies of models that changed behind one name are not mixed.

The row store keeps, for each name, what answered to it: the endpoint, the name that the server gave itself in its
replies (`gpt-4o` may say `gpt-4o-2024-08-06`), its `system_fingerprint` where that name has no date, and since when.
The first one has the address of the plain name, which earlier versions used; what comes later has an address of its
own, so it is asked everything again. Fingerprints that come in turns within one run are servers of one model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from opencharacter.engines import ChatReply
from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.storage.rowstore import RowStore

_MOST_CHANGES = 3
_DATED = re.compile(r"20\d\d-?\d\d-?\d\d|-\d{4}\b")
_KEY = "behind-name"
_FINGERPRINTS = "fingerprints"
_SAME_AS = "same_as"
"""Of an entry that another one turned out to be: the place of that one."""


class ChangedBehindNameError(Exception):
    """A reply comes from another model than those before, under the same name."""


@dataclass
class EndpointModel:
    """Who answers to a name."""

    name: str
    identity: str
    """Name and place of the endpoint."""
    known: list[dict[str, Any]]
    """All that ever answered to the name, in order."""
    place: int
    changes: int = 0
    unsaved: bool = field(default=False, repr=False)
    _left: set[int] = field(default_factory=set, repr=False)
    """Places that a new fingerprint has ended in this run."""
    _takes_turns: bool = field(default=False, repr=False)
    """Whether an ended one came back in this run."""

    @property
    def address(self) -> str:
        """What is part of the content address of the replies."""
        return self.name if self.place == 0 else f"{self.name} {self.identity} #{self.place}"

    def __str__(self) -> str:
        current = self.known[self.place]
        named = current["reported"] or self.name
        undated = "" if _DATED.search(named) else ", a name without a date: another model may answer to it one day"
        fingerprints = ", ".join(current.get(_FINGERPRINTS, ()))
        return f"{named}, first asked {current['since']}{undated}" + (f"; {fingerprints}" if fingerprints else "")

    def check(self, reply: ChatReply) -> None:
        """Note who answered. Raises `ChangedBehindNameError` if it is somebody else than before."""
        if reply.model is None:
            return
        # A name with a date is one model; its fingerprint changes with the servers that it runs on.
        fingerprint = None if _DATED.search(reply.model) else reply.fingerprint
        current = self.known[self.place]
        if current["reported"] is None:
            current |= {"reported": reply.model, "since": _today()}
            self.unsaved = True
        elif current["reported"] != reply.model or not (self._takes_turns or _may_be(current, fingerprint)):
            self._change(reply.model, fingerprint)
            raise ChangedBehindNameError
        if fingerprint is not None and fingerprint not in current.get(_FINGERPRINTS, ()):
            current[_FINGERPRINTS] = [*current.get(_FINGERPRINTS, ()), fingerprint]
            self.unsaved = True

    def checked(self, read: Callable[[ChatReply], dict[str, Any]]) -> Callable[[ChatReply], dict[str, Any]]:
        """`read`, after the check of who answered."""
        place = self.place

        def read_checked(reply: ChatReply) -> dict[str, Any]:
            if self.place != place:  # a call under way when another reply showed the change
                raise ChangedBehindNameError
            self.check(reply)
            return read(reply)

        return read_checked

    async def save(self, store: RowStore) -> None:
        """Keep what is known of the name."""
        if self.unsaved:
            self.unsaved = False
            content = {"status": "ok", "known": self.known}
            await store.record(_row_id(self.name), f"{_KEY}-{len(self.known)}", content)
            await store.finish(_row_id(self.name), content, label="ok")

    def _change(self, reported: str, fingerprint: str | None) -> None:
        current = self.known[self.place]
        same_name = current["reported"] == reported
        places = [
            place
            for place, entry in enumerate(self.known)
            if (entry["identity"], entry["reported"]) == (self.identity, reported)
            and _SAME_AS not in entry
            and _may_be(entry, fingerprint)
        ]
        if same_name and places and places[-1] in self._left:
            back = self.known[places[-1]]
            back[_FINGERPRINTS] = [*back[_FINGERPRINTS], *current[_FINGERPRINTS]]
            current[_SAME_AS] = self.place = places[-1]
            self._takes_turns = self.unsaved = True
            return
        self.changes += 1
        if self.changes > _MOST_CHANGES:
            raise OpenCharacterError(
                f"{self.identity} is another model from reply to reply: {current['reported']}, {reported}",
                hint="name one model, by its dated name if it has one; what is finished is kept",
            )
        if same_name:
            self._left.add(self.place)
        if places:
            self.place = places[-1]
            return
        entry = {"identity": self.identity, "reported": reported, "since": _today()}
        self.known.append(entry | ({_FINGERPRINTS: [fingerprint]} if fingerprint else {}))
        self.place, self.unsaved = len(self.known) - 1, True


def _may_be(entry: Mapping[str, Any], fingerprint: str | None) -> bool:
    """Whether a reply with this fingerprint can come from what is known."""
    known = entry.get(_FINGERPRINTS)
    return fingerprint is None or not known or fingerprint in known


def read_endpoint_model(store: RowStore, name: str, identity: str) -> EndpointModel:
    """Who answers to a name at an endpoint, as far as is known before it is asked."""
    known = _read(store, name)
    places = [place for place, entry in enumerate(known) if entry["identity"] == identity and _SAME_AS not in entry]
    if places:
        return EndpointModel(name, identity, known, places[-1])
    return EndpointModel(
        name, identity, [*known, {"identity": identity, "reported": None, "since": _today()}], len(known)
    )


def _read(store: RowStore, name: str) -> list[dict[str, Any]]:
    row_id = _row_id(name)
    kept = store.calls(row_id)  # of a run that was broken off
    content = kept[max(kept)] if kept else store.read(row_id) if store.finished(row_id) else {"known": []}
    return [dict(entry) for entry in content["known"]]


def _row_id(name: str) -> str:
    return digest({"behind": name})


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
