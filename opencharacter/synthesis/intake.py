"""Making an output out of what a user gave: bad rows set aside, rows counted by outcome and source."""

import functools
import time
from collections.abc import Callable

from opencharacter.sources.quarantine import Quarantine
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace


def ingest_rows(
    workspace: Workspace,
    kind: str,
    key: str,
    write: Callable[[ArtifactDraft, Quarantine], None],
    *,
    max_bad_share: float,
    bad_rows: str = "quarantine.jsonl",
) -> Artifact:
    """The output of `kind` and `key`, made by `write` unless it is there already.

    Its file `bad_rows` holds the rows set aside (BadRow). If there are too many, the output is refused, and they are
    left in the workspace's folder `quarantine`. `counts` are rows by outcome, `stats` has them by source, and the bad
    ones by reason.
    """
    if ref := workspace.lookup(kind, key):
        return ref
    started = time.monotonic()
    keep_file = functools.partial(workspace.quarantine, name=f"{kind}-{key[:12]}.jsonl")
    with workspace.create(kind, key) as draft:
        with Quarantine(draft.path / bad_rows, max_bad_share=max_bad_share, keep_file=keep_file) as quarantine:
            write(draft, quarantine)
        draft.counts |= quarantine.totals()
        draft.stats |= {
            "wall_s": round(time.monotonic() - started, 3),
            "sources": {name: dict(counts) for name, counts in quarantine.sources.items()},
            "bad_by_reason": dict(quarantine.reasons.most_common()),
        }
    return draft.committed()
