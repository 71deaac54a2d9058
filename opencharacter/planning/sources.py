"""What the sources of a run are and hold, by the reading that the run itself does."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.mixing.mix_config import GeneralSource
from opencharacter.records import BadRow, SessionReader, SourceFile, read_personas, read_sessions
from opencharacter.records.sampling import sample_seed
from opencharacter.sources.inputs import fetch
from opencharacter.sources.quarantine import SHOWN_BAD_ROWS, source_fault
from opencharacter.storage.kinds import DatasetCharacter
from opencharacter.synthesis.imported_characters import read_characters
from opencharacter.synthesis.published_dataset import read_dataset_characters, read_dataset_dialogues
from opencharacter.synthesis.synthesis_config import CharacterSource, Corpus, PersonaSource, PublishedDataset

_ELSEWHERE = ("hf://", "s3://")

What = Literal["personas", "sessions", "characters", "dialogues", "general"]


class FileLook(BaseModel):
    """A file of a source."""

    model_config = ConfigDict(extra="forbid")

    name: str
    format: str = Field(description="what the file is: `JSON Lines, gzip`")
    rows: int = Field(description="rows seen")
    bad: int = 0


class SourceLook(BaseModel):
    """A source of the run: its files, and its rows by outcome."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="where the run configuration names it")
    uri: str
    what: What
    read: bool = Field(default=True, description="whether it was read; false: it lies in an object store or on the hub")
    files: list[FileLook] = []
    layout: str | None = Field(default=None, description="the form of a session's row, such as `alpaca`")
    rows: int = Field(default=0, description="rows that count: the good ones, each once")
    bad: int = 0
    duplicates: int = 0
    system_prompts: int = Field(default=0, description="system prompts that are dropped")
    refusal: str | None = Field(default=None, description="why the run stops at this source")
    hint: str | None = None


OnRow = Callable[[SourceLook, Any], None]


def look_at_sources(config: RunConfig, on_row: OnRow = lambda look, row: None) -> list[SourceLook]:
    """Read all local sources of a run as its steps do, and say what each file is and whether the run takes it.

    `on_row` gets each good row (Persona, Session, CharacterProfile, DialogueRow) once. Raises nothing for a source that
    is refused: the look has the reason.
    """
    inputs = config.inputs
    reading = _Reading(on_row, config.seed)
    share = inputs.max_bad_share
    looks = [reading.personas(f"inputs.personas.{i}", source, share) for i, source in enumerate(inputs.personas)]
    looks += [
        reading.sessions(f"inputs.corpora.{i}", corpus, "sessions", share) for i, corpus in enumerate(inputs.corpora)
    ]
    if inputs.characters:
        looks.append(reading.characters(inputs.characters, share))
    if dataset := inputs.dataset:
        looks += reading.published(dataset, share)
    share = config.mix.max_bad_share
    looks += [
        reading.sessions(f"mix.general.{i}", source, "general", share) for i, source in enumerate(config.mix.general)
    ]
    return looks


def describe_sources(looks: Iterable[SourceLook]) -> Iterator[str]:
    """One line for each file: its name, what it is, rows seen, and why it is refused."""
    for look in looks:
        if not look.read:
            yield f"{look.key}  {look.uri}: not read here"
        for file in look.files:
            layout = f", {look.layout}" if look.layout and file.rows else ""
            rows = f": {_amount(file.rows, 'row')}" if file.rows else ""
            bad = f", {file.bad:,} bad" if file.bad else ""
            yield f"{look.key}  {file.name}  {file.format or 'not read'}{layout}{rows}{bad}"
        if look.duplicates:
            yield f"{look.key}  {look.uri}: {_amount(look.duplicates, 'duplicate')}, counted once"
        if look.system_prompts:
            prompts = _amount(look.system_prompts, "system prompt")
            yield f"{look.key}  {look.uri}: {prompts} dropped, for the character's own"
        if look.refusal:
            # The second line names the first bad row.
            yield f"{look.key}  refused: {' '.join(map(str.strip, look.refusal.splitlines()[:2]))}"


def require_readable(looks: Iterable[SourceLook]) -> None:
    """Raise `UserError` if the run would stop at one of the sources, with the reason for each."""
    refused = [look for look in looks if look.refusal]
    if len(refused) == 1:
        raise UserError(f"{refused[0].key}: {refused[0].refusal}", hint=refused[0].hint)
    if refused:
        raise UserError("\n".join(f"{look.key}: {look.refusal}\n  {look.hint or ''}".rstrip() for look in refused))


def _amount(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Reading:
    def __init__(self, on_row: OnRow, seed: int) -> None:
        self._on_row = on_row
        self._seed = seed
        self._seen: set[tuple[str, str]] = set()

    def personas(self, key: str, source: PersonaSource, share: float) -> SourceLook:
        def read(files: list[SourceFile]) -> Iterable[Any]:
            return read_personas(
                fetch(source.uri),
                name=source.uri,
                licence=source.license,
                format=source.format,
                limit=source.limit,
                sample_seed=sample_seed(source.sample, source.limit, self._seed),
                files=files,
            )

        return self._look(key, source.uri, "personas", share, read)

    def sessions(self, key: str, source: Corpus | GeneralSource, what: What, share: float) -> SourceLook:
        def read(files: list[SourceFile]) -> Iterable[Any]:
            return read_sessions(
                fetch(source.uri),
                name=source.uri,
                corpus=source.name,
                licence=source.license,
                format=source.format,
                limit=source.limit,
                sample_seed=sample_seed(source.sample, source.limit, self._seed),
                files=files,
            )

        return self._look(key, source.uri, what, share, read, name=source.name)

    def characters(self, source: CharacterSource, share: float) -> SourceLook:
        return self._look(
            "inputs.characters",
            source.uri,
            "characters",
            share,
            lambda files: read_characters(source, seed=self._seed, files=files),
        )

    def published(self, dataset: PublishedDataset, share: float) -> Iterator[SourceLook]:
        ids: list[DatasetCharacter] = []
        yield self._look(
            "inputs.dataset.characters",
            dataset.characters,
            "characters",
            share,
            lambda files: read_dataset_characters(dataset, ids, files),
        )
        if dataset.characters.startswith(_ELSEWHERE):
            # Their rows name characters that are not read.
            yield SourceLook(key="inputs.dataset.dialogues", uri=dataset.dialogues, what="dialogues", read=False)
            return
        yield self._look(
            "inputs.dataset.dialogues",
            dataset.dialogues,
            "dialogues",
            share,
            lambda files: read_dataset_dialogues(dataset, ids, files, seed=self._seed),
        )

    def _look(
        self,
        key: str,
        uri: str,
        what: What,
        share: float,
        read: Callable[[list[SourceFile]], Iterable[Any]],
        *,
        name: str = "",
    ) -> SourceLook:
        look = SourceLook(key=key, uri=uri, what=what, read=not uri.startswith(_ELSEWHERE))
        if not look.read:
            return look
        files: list[SourceFile] = []
        try:
            self._count(look, name or uri, read(files), share)
        except UserError as error:
            look.refusal, look.hint = str(error), error.hint
        look.files = [FileLook(name=file.name, format=file.format, rows=file.rows, bad=file.bad) for file in files]
        return look

    def _count(self, look: SourceLook, name: str, rows: Iterable[Any], share: float) -> None:
        first_bad: list[BadRow] = []
        if isinstance(rows, SessionReader):
            look.layout = rows.format
        for row in rows:
            if isinstance(row, BadRow):
                look.bad += 1
                if len(first_bad) < SHOWN_BAD_ROWS:
                    first_bad.append(row)
            elif (identity := (look.what, row.row_id if look.what == "dialogues" else row.id)) in self._seen:
                look.duplicates += 1
            else:
                self._seen.add(identity)
                look.rows += 1
                self._on_row(look, row)
        if isinstance(rows, SessionReader):
            look.system_prompts = rows.system_turns_dropped
        read = look.rows + look.bad + look.duplicates
        if fault := source_fault(name, read, look.bad, share, first_bad):
            raise fault
