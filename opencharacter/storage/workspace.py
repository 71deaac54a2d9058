"""The workspace: a run's stable folder, where every step output lives under a content address (DESIGN decision 2)."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import tree_digest

_MANIFEST = "manifest.json"


class Ref(BaseModel):
    """A reference to a committed step output: what KFP carries instead of data."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="what it is: personas, sessions, characters, dialogues, mixture, model, ...")
    key: str = Field(description="digest of all that decided the output")
    uri: str = Field(description="the folder that holds it")
    digest: str = Field(description="digest of its files")
    counts: dict[str, int] = Field(default_factory=dict, description="rows by outcome")
    stats: dict[str, Any] = Field(default_factory=dict, description="wall time, LLM usage, figures for the report")

    @property
    def path(self) -> Path:
        """The output's folder on this machine."""
        return local_path(self.uri)


@dataclass
class Draft:
    """An output being made; it exists for others only once `Workspace.produce` has committed it."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    ref: Ref | None = None

    def committed(self) -> Ref:
        """The reference to the output; there once the `produce` block has ended."""
        assert self.ref is not None, "not committed yet"
        return self.ref


def local_path(uri: str) -> Path:
    """The local folder or file behind a `file://` URI or plain path."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    if "://" in uri:
        raise UserError(f"'{uri}' is not on this machine; expected a local path or file:// URI")
    return Path(uri)


class Workspace:
    """A local workspace. Object stores come in behind the same methods."""

    def __init__(self, root: str | Path) -> None:
        self.root = local_path(str(root)).resolve()

    def folder(self, *parts: str) -> Path:
        """A folder below the root, made if absent."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def lookup(self, kind: str, key: str) -> Ref | None:
        """The committed output of `kind` and `key`, if there is one."""
        return self._read_manifest(self.root / "outputs" / kind / key)

    def list(self, kind: str) -> list[Ref]:
        """All committed outputs of a kind."""
        folders = sorted((self.root / "outputs" / kind).glob("*"))
        return [ref for folder in folders if (ref := self._read_manifest(folder))]

    @contextmanager
    def produce(self, kind: str, key: str) -> Iterator[Draft]:
        """A folder to write an output into; committed by one rename when the block ends without an error.

        Counts and stats put on the draft go into the manifest. Nothing is left behind after an error.
        """
        parent = self.folder("outputs", kind)
        draft = Draft(Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=parent)))
        try:
            yield draft
            self._commit(draft, kind, key, parent / key)
            draft.ref = self.lookup(kind, key)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)

    def _commit(self, draft: Draft, kind: str, key: str, target: Path) -> None:
        ref = Ref(
            kind=kind,
            key=key,
            uri=str(target),
            digest=tree_digest(draft.path),
            counts=draft.counts,
            stats=draft.stats,
        )
        (draft.path / _MANIFEST).write_text(ref.model_dump_json(indent=2), encoding="utf-8")
        draft.path.chmod(0o755)
        _sync_tree(draft.path)
        try:
            draft.path.rename(target)
        except OSError:
            # Another worker committed the same content address first: its output is as good as ours.
            if self._read_manifest(target) is None:
                raise
        _sync(target.parent)

    def _read_manifest(self, folder: Path) -> Ref | None:
        try:
            raw = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise OpenCharacterError(
                f"{folder / _MANIFEST} is damaged: {error}", hint="delete that folder and run again"
            ) from error
        return Ref.model_validate(raw | {"uri": str(folder)})


def _sync_tree(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
