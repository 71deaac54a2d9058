"""Importing the published OpenCharacter release (characters and dialogues) in place of synthesis.

Both files are read row by row: the dialogues are 1.2 GB.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from opencharacter.characters import CharacterProfile, Provenance, parse_profile
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records import BadRow, DialogueRow, RawRow, RawRows, SourceFile, Turn
from opencharacter.records.formats.fields import optional_text_of, text_of
from opencharacter.records.personas import normalise, persona_id
from opencharacter.records.rows import InvalidRow
from opencharacter.records.sampling import sample_seed, take_rows
from opencharacter.records.sessions import session_id
from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine
from opencharacter.storage.kinds import CHARACTERS, DATASET_CHARACTERS, DIALOGUES, REJECTED, DatasetCharacter
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.synthesis.ingest import ingest_rows
from opencharacter.synthesis.synthesis_config import PublishedDataset
from opencharacter.texts import text_fault

NOT_STATED = "not stated"
"""Stands for teacher and prompt of an imported dialogue."""

Row = TypeVar("Row", CharacterProfile, DialogueRow)

_KNOWN = {"character_id", "question", "question_source", "character_answer"}


class ImportedDataset(NamedTuple):
    """What `import_dataset` made."""

    characters: Artifact
    dialogues: Artifact


def import_dataset(
    config: PublishedDataset, *, workspace: Workspace, max_bad_share: float, seed: int = 0
) -> ImportedDataset:
    """Read the release into what `collect_profiles` and `collect_dialogues` would have made.

    Returns references of kind `characters` (`characters.jsonl.zst`, CharacterProfile) and `dialogues`
    (`dialogues.jsonl.zst`, DialogueRow), each with `rejected.jsonl` (BadRow) beside it. A character's own id of the
    release is kept as `release_id` of its provenance. `config.limit` takes a part of the dialogues, by `seed`. Raises
    `UserError` naming file and line if a file is absent, empty, or has more bad rows than `max_bad_share`.
    """
    characters = _import_characters(config, workspace, max_bad_share)
    return ImportedDataset(characters, _import_dialogues(config, characters, workspace, max_bad_share, seed))


def read_dataset_characters(
    config: PublishedDataset, ids: list[DatasetCharacter], files: list[SourceFile] | None = None
) -> Iterator[CharacterProfile | BadRow]:
    """The characters of the data set, and its bad rows. `ids` and `files` are filled while they are read."""
    raw = RawRows(fetch(config.characters), config.characters, False, files)
    source = source_name(config.characters)
    return _counting_bad(raw, (as_character(row, source, config.license, ids) for row in raw))


def read_dataset_dialogues(
    config: PublishedDataset,
    ids: Iterable[DatasetCharacter],
    files: list[SourceFile] | None = None,
    *,
    seed: int = 0,
) -> Iterator[DialogueRow | BadRow]:
    """The dialogues of the data set's characters, and its bad rows. `files` is filled while they are read."""
    known = {row.release_id: row.character_id for row in ids}
    raw = RawRows(fetch(config.dialogues), config.dialogues, False, files)
    source = source_name(config.dialogues)
    taken = take_rows(raw, config.limit, sample_seed(config.sample, config.limit, seed))
    return _counting_bad(raw, (_as_dialogue(row, known, source, config.license) for row in taken))


def _counting_bad(raw: RawRows, rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
    for row in rows:
        if isinstance(row, BadRow):
            raw.count_bad(row)
        yield row


def _import_characters(config: PublishedDataset, workspace: Workspace, max_bad_share: float) -> Artifact:
    path, source = fetch(config.characters), source_name(config.characters)

    def write(draft: ArtifactDraft, quarantine: Quarantine) -> None:
        ids: list[DatasetCharacter] = []
        rows = read_dataset_characters(config, ids)
        CHARACTERS.write(draft.path, quarantine.filter_rows(rows, config.characters))
        # Equal characters are kept once, but their dialogues name each of their ids.
        DATASET_CHARACTERS.write(draft.path, ids)

    key = _key("characters", config.license, source, input_digest(path), max_bad_share)
    return ingest_rows(workspace, "characters", key, write, max_bad_share=max_bad_share, bad_rows=REJECTED)


def _import_dialogues(
    config: PublishedDataset, characters: Artifact, workspace: Workspace, max_bad_share: float, seed: int
) -> Artifact:
    path, source = fetch(config.dialogues), source_name(config.dialogues)

    def write(draft: ArtifactDraft, quarantine: Quarantine) -> None:
        rows = read_dataset_dialogues(config, DATASET_CHARACTERS.read(characters), seed=seed)
        kept = quarantine.filter_rows(rows, config.dialogues, identity=lambda row: row.row_id)
        DIALOGUES.write(draft.path, kept)

    sample = [config.limit, sample_seed(config.sample, config.limit, seed)]
    key = _key("dialogues", config.license, source, input_digest(path), max_bad_share, characters.digest, sample)
    return ingest_rows(workspace, "dialogues", key, write, max_bad_share=max_bad_share, bad_rows=REJECTED)


def _key(what: str, *deciding: Any) -> str:
    return digest({"step": f"import_dataset.{what}", "deciding": deciding, "library": fingerprint()})


def as_character(
    row: RawRow | BadRow, source: str, licence: str, ids: list[DatasetCharacter]
) -> CharacterProfile | BadRow:
    """A character of the release; its ids are added to `ids`."""
    if isinstance(row, BadRow):
        return row
    try:
        fields = _object(row)
        persona = normalise(optional_text_of(fields, "persona")) or None
        release_id = _release_id(fields)
        provenance = {
            "source": source,
            "licence": licence,
            "persona_id": persona_id(persona) if persona else None,
            "release_id": release_id,
        }
        profile = parse_profile(
            text_of(fields, "character"), persona=persona, provenance=Provenance.model_validate(provenance)
        )
    except (InvalidRow, UserError) as problem:
        return row.bad(str(problem))
    ids.append(DatasetCharacter(release_id=release_id, character_id=profile.id))
    return profile


def _as_dialogue(row: RawRow | BadRow, ids: Mapping[str, str], source: str, licence: str) -> DialogueRow | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        fields = _object(row)
        question, answer = text_of(fields, "question"), text_of(fields, "character_answer")
        corpus = optional_text_of(fields, "question_source") or NOT_STATED
        character = ids.get(_release_id(fields))
        if fault := text_fault(question) or text_fault(answer):
            raise InvalidRow(f"a turn {fault}")
        if character is None:
            raise InvalidRow("'character_id' names no character that was read")
    except InvalidRow as problem:
        return row.bad(str(problem))
    asked = Turn(role="user", content=question)
    return DialogueRow(
        row_id=digest({"release": [character, corpus, question, answer]}),
        corpus=corpus,
        session_id=session_id(corpus, [asked]),
        character_id=character,
        # The published rows are those of the final recipe, which are all generated.
        strategy="G",
        turns=(asked, Turn(role="assistant", content=answer)),
        source=source,
        licence=licence,
        model=NOT_STATED,
        prompt_hash=NOT_STATED,
        extra={key: value for key, value in fields.items() if key not in _KNOWN},
    )


def _object(row: RawRow) -> dict[str, Any]:
    if not isinstance(row.value, dict):
        raise InvalidRow("not a JSON object")
    return row.value


def _release_id(fields: dict[str, Any]) -> str:
    value = fields.get("character_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRow(
            "'character_id' is missing" if value is None else "'character_id' is neither text nor a number"
        )
    return str(value)
