"""The two halves of a sharded stage: shards make rows in the row store, then one task collects them."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.generation.rows import OK, Job, Outcome, final_after, make_rows, refuse_bad_yield, rejections
from opencharacter.hashing import digest
from opencharacter.records.models import Usage
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.rowfiles import RowFiles
from opencharacter.storage.rowstore import BUCKETS, read_rows
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace

Item = TypeVar("Item")


def make_shard(
    workspace: Workspace,
    what: str,
    key: str,
    jobs: Callable[[], Iterable[Job]],
    engines: dict[str, EngineConfig],
    *,
    shard: int,
    shards: int,
    seed: int,
    attempts: int,
    max_rejected_share: float,
) -> Artifact:
    """Make one shard's rows of the stage `what`; `key` is the digest of all that decides the stage's rows.

    Returns a manifest of kind `<what>_rows`, without files. It is made anew where rows that it counts are gone. Raises
    `UserError` for a shard that does not exist.
    """
    if not 0 <= shard < shards <= BUCKETS:
        raise UserError(
            f"shard {shard} of {shards}: expected 1 to {BUCKETS} shards, counted from 0",
            hint='for two shards the pipeline\'s parameter `shards` is [{"shard": 0, "of": 2}, {"shard": 1, "of": 2}]',
        )
    kind, place = f"{what}_rows", workspace.rows(what)
    key = digest({"rows": key, "shard": shard, "shards": shards})
    ref = workspace.lookup(kind, key)
    if ref and len(read_rows(place, shard=shard, shards=shards)) >= ref.stats["stored_rows"]:
        return ref
    report = make_rows(
        place,
        jobs(),
        engines,
        what=what,
        shard=shard,
        shards=shards,
        seed=seed,
        attempts=attempts,
        max_rejected_share=max_rejected_share,
    )
    with workspace.create(kind, key) as draft:
        draft.counts = report.counts
        draft.stats = {**report.stats, "stored_rows": len(read_rows(place, shard=shard, shards=shards))}
    return draft.committed()


def collect(
    draft: ArtifactDraft,
    place: RowFiles,
    what: str,
    items: Mapping[str, Item],
    build: Callable[[str, Item, Outcome], BaseModel | dict[str, Any]],
    *,
    attempts: int,
    max_rejected_share: float,
) -> None:
    """Write the rows of `items` (by row id, in this order) into `<what>.jsonl.zst`, and `rejected.jsonl`.

    `build` makes the output row of an item's outcome, good or rejected. Raises `OpenCharacterError` if rows are
    missing, or too many were rejected.
    """
    started = time.monotonic()
    store = read_rows(place, is_final=final_after(attempts))
    missing = sum(not store.finished(row_id) for row_id in items)
    if missing:
        raise OpenCharacterError(
            f"{missing} of {len(items)} rows of {what} are not made yet",
            hint="run the same command again: it goes on where the shards stopped",
        )
    outcomes: Counter[str] = Counter()
    usage = Usage()
    rejected: list[BaseModel | dict[str, Any]] = []

    def good_rows() -> Iterator[BaseModel | dict[str, Any]]:
        nonlocal usage
        for row_id, item in items.items():
            outcome = Outcome.model_validate(store.read(row_id))
            outcomes[outcome.reason or OK] += 1
            usage += outcome.usage
            row = build(row_id, item, outcome)
            if outcome.status == OK:
                yield row
            else:
                rejected.append(row)

    write_jsonl(draft.path / f"{what}.jsonl.zst", good_rows())
    refuse_bad_yield(what, outcomes, max_rejected_share)
    write_jsonl(draft.path / "rejected.jsonl", rejected)
    draft.counts = {OK: outcomes[OK], "rejected": len(rejected)}
    draft.stats = {
        "wall_s": round(time.monotonic() - started, 3),
        "usage": usage.model_dump(),
        "rejected_by_reason": rejections(outcomes),
    }
