"""Reads personas and instruction sessions into the workspace."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records import BadRow, Persona, PersonaReader, Session, SessionReader, read_personas, read_sessions
from opencharacter.records.sampling import sample_seed
from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine
from opencharacter.storage.kinds import PERSONAS, QUARANTINE, SESSIONS, RowsFile
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.synthesis.synthesis_config import Corpus, InputsConfig, PersonaSource


class Ingested(NamedTuple):
    """What `ingest` made."""

    personas: Artifact
    sessions: Artifact


class _Source(NamedTuple):
    name: str
    path: Path
    settings: dict[str, Any]  # everything that decides what is read from the file
    read: Callable[[], Iterable[Persona | Session | BadRow]]
    origin: PersonaSource | Corpus


def ingest(config: InputsConfig, *, workspace: Workspace, seed: int = 0) -> Ingested:
    """Read all persona sources and corpora; unchanged sources are not read again.

    Returns artifacts of kind `personas` (`personas.jsonl.zst`, Persona) and `sessions` (`sessions.jsonl.zst`,
    Session), each with `quarantine.jsonl` (BadRow). Counts are rows by outcome; `stats["sources"]` has them
    by source. A persona that comes twice is kept once, and so is a session that comes twice in its corpus. `seed`
    decides which rows a source's `limit` takes.

    Raises `UserError` naming file and line if a source is absent, empty, of unknown format, or has more bad rows than
    `max_bad_share`; or if the workspace was begun with the first rows of a source that would now be sampled.
    """
    personas = [_persona_source(source, seed) for source in config.personas]
    sessions = [_session_source(corpus, seed) for corpus in config.corpora]
    return Ingested(
        _read_into(workspace, "personas", PERSONAS, personas, config.max_bad_share),
        _read_into(workspace, "sessions", SESSIONS, sessions, config.max_bad_share),
    )


def _persona_source(source: PersonaSource, seed: int) -> _Source:
    path = fetch(source.uri)
    name = source.name or source_name(source.uri)

    def read() -> PersonaReader:
        return read_personas(
            path,
            name=source.uri,
            source=name,
            licence=source.license,
            format=source.format,
            limit=source.limit,
            sample_seed=sample,
        )

    sample = sample_seed(source.sample, source.limit, seed)
    settings = source.model_dump(include={"format", "license", "limit"}) | {"name": name, "sample_seed": sample}
    return _Source(source.uri, path, settings, read, source)


def _session_source(corpus: Corpus, seed: int) -> _Source:
    path = fetch(corpus.uri)
    name = source_name(corpus.uri)

    def read() -> SessionReader:
        return read_sessions(
            path,
            name=corpus.uri,
            corpus=corpus.name,
            source=name,
            licence=corpus.license,
            format=corpus.format,
            limit=corpus.limit,
            sample_seed=sample,
        )

    sample = sample_seed(corpus.sample, corpus.limit, seed)
    # Strategies, teacher and n do not change what is read.
    settings = corpus.model_dump(include={"name", "format", "license", "limit"})
    return _Source(corpus.name, path, settings | {"source": name, "sample_seed": sample}, read, corpus)


def _read_into(
    workspace: Workspace, kind: str, file: RowsFile[Any], sources: Sequence[_Source], max_bad_share: float
) -> Artifact:
    key = digest(
        {
            "step": f"ingest.{kind}",
            "sources": [[source.settings, input_digest(source.path)] for source in sources],
            "max_bad_share": max_bad_share,
            "library": fingerprint(),
        }
    )

    def write(draft: ArtifactDraft, quarantine: Quarantine) -> None:
        _refuse_to_change_rows(workspace, kind, sources)
        file.write(draft.path, _rows(sources, draft, quarantine))
        draft.stats["sampled"] = [source.name for source in sources if source.settings["sample_seed"] is not None]

    return ingest_rows(workspace, kind, key, write, max_bad_share=max_bad_share)


def _refuse_to_change_rows(workspace: Workspace, kind: str, sources: Sequence[_Source]) -> None:
    """Raise `UserError` where an earlier version took the first rows of a source that would now be sampled.

    Other rows would be made, and paid for, than those that the workspace holds.
    """
    unsettled = [source for source in sources if source.origin.limit is not None and source.origin.sample is None]
    if not unsettled:
        return
    earlier = [output.stats for output in workspace.list(kind) if "sampled" not in output.stats]
    for source in unsettled:
        if any(_took_first_rows(stats, source) for stats in earlier):
            raise UserError(
                f"{source.name}: the workspace holds the first {source.origin.limit} rows, which is what `limit` took"
                " before; now it takes a sample of all rows",
                hint="set `sample: first` beside `limit` to continue that run, or `sample: random` to make other rows",
            )


def _took_first_rows(stats: Mapping[str, Any], source: _Source) -> bool:
    """Whether an output of an earlier version holds as many rows of a source as its limit takes."""
    read = sum(stats.get("sources", {}).get(source.name, {}).values())
    limit = source.origin.limit or 0
    # A row of self_instruct holds several sessions.
    return read == limit or (stats.get("formats", {}).get(source.name) == "self_instruct" and read > limit)


def _rows(sources: Sequence[_Source], draft: ArtifactDraft, quarantine: Quarantine) -> Iterator[Persona | Session]:
    for source in sources:
        rows = source.read()
        good: Iterator[Persona | Session] = quarantine.filter_rows(rows, source.name)
        yield from good
        if isinstance(rows, SessionReader):
            draft.stats.setdefault("formats", {})[source.name] = rows.format
            dropped = draft.counts.get("system_turns_dropped", 0)
            draft.counts["system_turns_dropped"] = dropped + rows.system_turns_dropped


def ingest_rows(
    workspace: Workspace,
    kind: str,
    key: str,
    write: Callable[[ArtifactDraft, Quarantine], None],
    *,
    max_bad_share: float,
    bad_rows: RowsFile[Any] = QUARANTINE,
) -> Artifact:
    """The output of `kind` and `key`; `write` makes it unless it exists.

    Its file `bad_rows` holds the rows set aside (BadRow). If there are too many, the output is rejected, and they are
    kept in the workspace's folder `quarantine`. `counts` are rows by outcome, `stats` has them by source, and the bad
    ones by reason.
    """
    if ref := workspace.lookup(kind, key):
        return ref
    started = time.monotonic()
    keep_file = functools.partial(workspace.quarantine, name=f"{kind}-{key[:12]}.jsonl")
    with workspace.create(kind, key) as draft:
        with Quarantine(draft.path / bad_rows.name, max_bad_share=max_bad_share, keep_file=keep_file) as quarantine:
            write(draft, quarantine)
        draft.counts |= quarantine.totals()
        draft.stats |= {
            "wall_s": round(time.monotonic() - started, 3),
            "sources": {name: dict(counts) for name, counts in quarantine.sources.items()},
            "bad_by_reason": dict(quarantine.reasons.most_common()),
        }
    return draft.committed()
