"""The mixture's rows as the trainer takes them: token ids and labels, encoded once per job."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opencharacter.errors import UserError
from opencharacter.records.models import TrainingRow
from opencharacter.storage.jsonl import read_models
from opencharacter.tokenization import IGNORED, TurnMarks, encode
from opencharacter.training.job import RowCounts

if TYPE_CHECKING:
    from datasets import Dataset

_COUNTS = "counts.json"
_ROWS_PER_PROCESS = 2000
"""Fewer rows are not worth another encoding process."""


def encode_rows(rows: Path, tokenizer: Any, folder: Path, *, max_length: int, processes: int) -> None:
    """Encode the rows of `rows` into `folder`, unless an earlier attempt did.

    Raises `UserError` if a row can't be encoded or none is left to train on.
    """
    from datasets import Dataset

    if folder.is_dir():
        return
    if next(read_models(rows, TrainingRow), None) is None:
        raise UserError(f"{rows}: the mixture has no training rows")
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    messages = Dataset.from_generator(_messages, gen_kwargs={"path": rows}, cache_dir=str(partial / "cache"))
    workers = min(processes, 1 + len(messages) // _ROWS_PER_PROCESS)
    encoded = messages.map(
        _encode_row,
        fn_kwargs={"marks": TurnMarks(tokenizer), "max_length": max_length},
        remove_columns=messages.column_names,
        num_proc=workers if workers > 1 else None,
    )
    kept = encoded.filter(lambda answered: answered > 0, input_columns="response_tokens")
    if not len(kept):
        raise UserError(
            f"{rows}: no row has an answer within {max_length} tokens", hint="raise the training's max_length"
        )
    forged = sum(encoded["forged"])
    counts = RowCounts(
        rows=len(encoded),
        cut=sum(encoded["cut"]),
        without_response=len(encoded) - len(kept) - forged,
        forged=forged,
        tokens=sum(kept["tokens"]),
        response_tokens=sum(kept["response_tokens"]),
    )
    kept.select_columns(["input_ids", "labels"]).save_to_disk(partial / "rows")
    (partial / _COUNTS).write_text(counts.model_dump_json(), encoding="utf-8")
    shutil.rmtree(partial / "cache")
    partial.rename(folder)


def load_encoded(folder: Path) -> "tuple[Dataset, RowCounts]":
    """The rows that `encode_rows` wrote: columns `input_ids` and `labels`."""
    from datasets import load_from_disk

    counts = RowCounts.model_validate_json((folder / _COUNTS).read_text(encoding="utf-8"))
    return load_from_disk(folder / "rows"), counts


def _messages(path: Path) -> Iterator[dict[str, Any]]:
    for row in read_models(path, TrainingRow):
        yield {"row_id": row.row_id, "messages": [turn.model_dump() for turn in row.messages]}


def _encode_row(row: dict[str, Any], marks: TurnMarks, max_length: int) -> dict[str, Any]:
    try:
        ids, labels = encode(marks.tokenizer, row["messages"])
    except UserError as error:
        raise UserError(f"row {row['row_id']}: {error}", hint=error.hint) from error
    forged = marks.are_forged(row["messages"], ids)
    return {
        "input_ids": ids[:max_length],
        "labels": labels[:max_length],
        "cut": len(ids) > max_length,
        "tokens": min(len(ids), max_length),
        "response_tokens": 0 if forged else sum(label != IGNORED for label in labels[:max_length]),
        "forged": forged,
    }
