"""References to step outputs, and drafts of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.errors import UserError
from opencharacter.hashing import tree_digest
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import output_copy, output_file, output_part_digest


class Artifact(BaseModel):
    """A reference to a committed step output: what KFP carries instead of data."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="what it is: personas, sessions, characters, dialogues, mixture, model, ...")
    key: str = Field(description="digest of everything that determines the output")
    uri: str = Field(description="the folder that holds it: a local path, or an s3:// prefix")
    digest: str = Field(description="digest of its files")
    counts: dict[str, int] = Field(default_factory=dict, description="rows by outcome")
    stats: dict[str, Any] = Field(default_factory=dict, description="wall time, LLM usage, figures for the report")

    @property
    def path(self) -> Path:
        """The output's folder on this machine. From an object store the whole folder is fetched once and verified."""
        return output_copy(self.uri, self.digest) if self._remote else local_path(self.uri)

    def file(self, name: str) -> Path:
        """One file of the output on this machine; the others are not fetched. The path may not exist."""
        return output_file(self.uri, self.digest, name) if self._remote else local_path(self.uri) / name

    def part_digest(self, folder: str) -> str:
        """`hashing.tree_digest` of a folder of the output, without fetching it."""
        if self._remote:
            return output_part_digest(self.uri, self.digest, folder)
        return tree_digest(local_path(self.uri) / folder)

    @property
    def _remote(self) -> bool:
        return self.uri.startswith(OBJECT_SCHEME)


@dataclass
class ArtifactDraft:
    """An output being made; others see it once `Workspace.create` has committed it."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = None

    def committed(self) -> Artifact:
        """The reference to the output; available once the `create` block has ended."""
        assert self.artifact is not None, "not committed yet"
        return self.artifact

    def manifest(self, kind: str, key: str, uri: str, digest: str) -> str:
        """The text of the manifest that the output gets at `uri`."""
        artifact = Artifact(kind=kind, key=key, uri=uri, digest=digest, counts=self.counts, stats=self.stats)
        return artifact.model_dump_json(indent=2)


def local_path(uri: str) -> Path:
    """The local folder or file behind a `file://` URI or plain path."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    if "://" in uri:
        raise UserError(f"'{uri}' is not on this machine; expected a local path or file:// URI")
    return Path(uri)
