"""Data at rest: the workspace of a run, JSONL data sets, and rows that cost LLM calls."""

from opencharacter.storage.cache import cache_folder
from opencharacter.storage.inputs import fetch, input_digest, source_name
from opencharacter.storage.jsonl import read_jsonl, read_models, write_jsonl
from opencharacter.storage.mirror import Mirror
from opencharacter.storage.quarantine import Quarantine
from opencharacter.storage.rowfiles import RowFiles
from opencharacter.storage.rowstore import RowReader, RowStore, open_rows, read_rows
from opencharacter.storage.workspace import Draft, Ref, Workspace, local_path

__all__ = [
    "Draft",
    "Mirror",
    "Quarantine",
    "Ref",
    "RowFiles",
    "RowReader",
    "RowStore",
    "Workspace",
    "cache_folder",
    "fetch",
    "input_digest",
    "local_path",
    "open_rows",
    "read_jsonl",
    "read_models",
    "read_rows",
    "source_name",
    "write_jsonl",
]
