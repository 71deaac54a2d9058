"""Importing characters in place of profile synthesis: those of the published release, or of a finished run."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from opencharacter.characters import CharacterProfile, Provenance
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records import BadRow, RawRow, RawRows, SourceFile
from opencharacter.records.sampling import sample_seed, take_rows
from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine
from opencharacter.storage.kinds import CHARACTERS, REJECTED
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.synthesis.ingest import ingest_rows
from opencharacter.synthesis.published_dataset import as_character
from opencharacter.synthesis.synthesis_config import CharacterSource


def import_characters(
    config: CharacterSource, *, workspace: Workspace, max_bad_share: float, seed: int = 0
) -> Artifact:
    """Read characters into what `collect_profiles` would have made.

    Returns an artifact of kind `characters`: `characters.jsonl.zst` (CharacterProfile) and `rejected.jsonl` (BadRow).
    Equal characters are kept once. Raises `UserError` naming file and line if the file is absent, empty, names no
    license, or has more bad rows than `max_bad_share`.
    """
    path = _fetch_characters(config.uri)
    key = digest(
        {
            "step": "import_characters",
            "source": source_name(config.uri),
            "content": input_digest(path),
            "license": config.license,
            "sample": [config.limit, sample_seed(config.sample, config.limit, seed)],
            "max_bad_share": max_bad_share,
            "library": fingerprint(),
        }
    )

    def write(draft: ArtifactDraft, quarantine: Quarantine) -> None:
        CHARACTERS.write(draft.path, quarantine.filter_rows(read_characters(config, seed=seed), config.uri))

    return ingest_rows(workspace, "characters", key, write, max_bad_share=max_bad_share, bad_rows=REJECTED)


def read_characters(
    config: CharacterSource, *, seed: int = 0, files: list[SourceFile] | None = None
) -> Iterator[CharacterProfile | BadRow]:
    """The characters, and bad rows. `files` is filled while they are read. Raises as `import_characters` does."""
    raw = RawRows(_fetch_characters(config.uri), config.uri, False, files)
    for row in take_rows(raw, config.limit, sample_seed(config.sample, config.limit, seed)):
        character = _as_character(row, config)
        if isinstance(character, BadRow):
            raw.count_bad(character)
        yield character


def _fetch_characters(uri: str) -> Path:
    """The file of characters that a file's, an output's or a workspace's address means."""
    if uri.startswith(OBJECT_SCHEME) and "." not in source_name(uri):
        return fetch(f"{uri.rstrip('/')}/{CHARACTERS.name}")
    path = fetch(uri)
    if not path.is_dir():
        return path
    if (path / CHARACTERS.name).is_file():
        return path / CHARACTERS.name
    outputs = sorted(path.glob(f"outputs/characters/[!.]*/{CHARACTERS.name}"))
    if len(outputs) > 1:
        listed = "".join(f"\n  {output.parent}" for output in outputs)
        raise UserError(f"{uri}: the workspace holds {len(outputs)} outputs of characters; name one:{listed}")
    return outputs[0] if outputs else path


def _as_character(row: RawRow | BadRow, config: CharacterSource) -> CharacterProfile | BadRow:
    if isinstance(row, BadRow):
        return row
    if not isinstance(row.value, dict):
        return row.bad("not a JSON object")
    if "character" in row.value:
        return as_character(row, source_name(config.uri), _license(config), [])
    try:
        profile = CharacterProfile.model_validate(row.value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        return row.bad(
            f"no character profile: {f'{key}: ' if key else ''}{problem['msg'].removeprefix('Value error, ')}"
        )
    if profile.name is None:
        return row.bad("the character has no name; a persona alone is no profile")
    if profile.provenance is None:
        provenance = Provenance(source=source_name(config.uri), licence=_license(config))
        return profile.model_copy(update={"provenance": provenance})
    return profile


def _license(config: CharacterSource) -> str:
    if config.license is None:
        raise UserError(
            f"the characters of {config.uri} name no license",
            hint="set inputs.characters.license",
        )
    return config.license
