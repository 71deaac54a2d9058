"""Data at rest: the workspace of a run, JSONL data sets, and rows that cost LLM calls."""

from opencharacter.storage.jsonl import read_jsonl, read_models, write_jsonl
from opencharacter.storage.protocols import CheckpointStore, RowFiles
from opencharacter.storage.rowstore import RowReader, RowStore, open_rows, read_rows
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace, local_path

__all__ = [
    "Artifact",
    "ArtifactDraft",
    "CheckpointStore",
    "RowFiles",
    "RowReader",
    "RowStore",
    "Workspace",
    "local_path",
    "open_rows",
    "read_jsonl",
    "read_models",
    "read_rows",
    "write_jsonl",
]
