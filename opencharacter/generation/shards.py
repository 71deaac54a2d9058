"""The two halves of a sharded stage: shards make rows in the row store, then one task collects them."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.generation.errors import Unusable
from opencharacter.generation.rows import OK, PlannedRow, RowOutcome, RowPolicy, RowsReport, make_rows, rejections
from opencharacter.hashing import digest
from opencharacter.records.models import Usage
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.kinds import KINDS, REJECTED
from opencharacter.storage.protocols import RowFiles
from opencharacter.storage.rowstore import BUCKETS, bucket_of, open_rows, read_rows
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.system.event_loop import run_coroutine

Item = TypeVar("Item")
_ENOUGH_FOR_A_PART = 20


@dataclass(frozen=True)
class Shard:
    """One of the equal parts that a stage's rows are divided into."""

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        """Raise `UserError` for a shard that does not exist."""
        if not 0 <= self.index < self.of <= BUCKETS:
            raise UserError(
                f"shard {self.index} of {self.of}: expected 1 to {BUCKETS} shards, counted from 0",
                hint="for two shards the pipeline's parameter `shards` is "
                '[{"shard": 0, "of": 2}, {"shard": 1, "of": 2}]',
            )

    def owns(self, group: str) -> bool:
        """Whether the rows of a group are this shard's, where shards are cut by group."""
        return bucket_of(group) % self.of == self.index


WHOLE = Shard()
"""The only shard of a stage that is not divided."""


def make_shard(
    workspace: Workspace,
    what: str,
    key: str,
    tasks: Callable[[], Iterable[PlannedRow]],
    engines: Mapping[str, EngineConfig],
    shard: Shard,
    policy: RowPolicy,
    *,
    grouped: bool = False,
) -> Artifact:
    """Make one shard's rows of the stage `what`; `key` is the digest of everything that decides the stage's rows.

    `grouped` cuts shards by the tasks' group, else by row.

    Returns a manifest of kind `<what>_rows`, without files. It is made again where rows that it counts are gone.
    Raises `OpenCharacterError` if a server is down, answers are missing or nearly all rows are rejected; finished rows
    are kept, so the same call continues.
    """
    kind, files = f"{what}_rows", workspace.rows(what)
    key = digest({"rows": key, "shard": shard.index, "shards": shard.of})
    ref = workspace.lookup(kind, key)
    if ref and _count_rows(files, shard, grouped) >= ref.stats["stored_rows"]:
        return ref
    started = time.monotonic()
    report = run_coroutine(_make_rows(files, what, tasks(), engines, shard, policy, grouped))
    wall_s = time.monotonic() - started
    if report.unanswered:
        raise OpenCharacterError(
            f"{report.unanswered} {what} got no answer; the last error: {report.last_error}",
            hint="the rest is kept: run the same command again to ask for these",
        )
    with workspace.create(kind, key) as draft:
        draft.counts = {OK: report.outcomes[OK], "rejected": report.outcomes.total() - report.outcomes[OK]}
        draft.stats = _stats(report, wall_s) | {"stored_rows": _count_rows(files, shard, grouped)}
    return draft.committed()


async def _make_rows(
    files: RowFiles,
    what: str,
    tasks: Iterable[PlannedRow],
    engines: Mapping[str, EngineConfig],
    shard: Shard,
    policy: RowPolicy,
    grouped: bool,
) -> RowsReport:
    async with open_rows(files, shard=shard.index, shards=shard.of, is_final=policy.is_final, grouped=grouped) as store:
        check = partial(policy.check_early, what)
        return await make_rows(store, tasks, engines, what=what, seed=policy.seed, check=check)


def _count_rows(files: RowFiles, shard: Shard, grouped: bool) -> int:
    return len(read_rows(files, shard=shard.index, shards=shard.of, grouped=grouped))


def _stats(report: RowsReport, wall_s: float) -> dict[str, Any]:
    return {
        "wall_s": round(wall_s, 3),
        "usage": report.made.model_dump(),
        "tokens_per_s": round(report.made.completion_tokens / wall_s, 1) if wall_s else 0.0,
        "calls_made": report.made.calls,
        "calls_reused": report.reused_calls,
        "rejected_by_reason": rejections(report.outcomes),
    }


def collect(
    draft: ArtifactDraft,
    files: RowFiles,
    what: str,
    items: Mapping[str, Item],
    build: Callable[[str, Item, RowOutcome], BaseModel | dict[str, Any]],
    policy: RowPolicy,
    *,
    parts: Callable[[Item], Sequence[str]] = lambda item: (),
) -> None:
    """Write the rows of `items` (by row id, in this order) into the file of the kind `what`, and `rejected.jsonl`.

    `build` makes the output row of an item's outcome, good or rejected; where it raises `Unusable`, a good outcome is
    rejected after all. `parts` names the parts that an item belongs to, the largest first; none of those may be lost.
    Raises `OpenCharacterError` if rows are missing, or too many were rejected.
    """
    started = time.monotonic()
    store = read_rows(files, is_final=policy.is_final)
    missing = sum(not store.finished(row_id) for row_id in items)
    if missing:
        raise OpenCharacterError(
            f"{missing} of {len(items)} rows of {what} are not made yet",
            hint="run the same command again: it goes on where the shards stopped",
        )
    outcomes: Counter[str] = Counter()
    by_part: defaultdict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
    usage = Usage()
    rejected: list[BaseModel | dict[str, Any]] = []

    def good_rows() -> Iterator[BaseModel | dict[str, Any]]:
        nonlocal usage
        for row_id, item in items.items():
            outcome = RowOutcome.model_validate(store.read(row_id))
            try:
                row = build(row_id, item, outcome)
            except Unusable as problem:  # an older version kept what is refused today
                outcome = outcome.model_copy(update={"status": "rejected", "reason": problem.reason})
                row = build(row_id, item, outcome)
            outcomes[outcome.reason or OK] += 1
            for place, part in enumerate(parts(item)):
                by_part[place == 0, part][outcome.reason or OK] += 1
            usage += outcome.usage
            if outcome.status == OK:
                yield row
            else:
                rejected.append(row)

    (file,) = KINDS[what].rows
    file.write(draft.path, good_rows())
    policy.check(what, outcomes)
    for (largest, part), found in by_part.items():
        if largest or (not found[OK] and found.total() >= _ENOUGH_FOR_A_PART):
            policy.check(f"{what} of {part}", found)
    write_jsonl(draft.path / REJECTED.name, rejected)
    draft.counts = {OK: outcomes[OK], "rejected": len(rejected)}
    draft.stats = {
        "wall_s": round(time.monotonic() - started, 3),
        "usage": usage.model_dump(),
        "rejected_by_reason": rejections(outcomes),
    }
