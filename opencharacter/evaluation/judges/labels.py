"""What people say of answers: a label file, JSONL or CSV, one label a line.

`score` is on the suite's scale for one answer; for two answers it is 1 where `model` is better, 0 where `rival` is, and
0.5 for a tie.
"""

import csv
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError
from opencharacter.evaluation.judges.agreement import Rating
from opencharacter.evaluation.preferences import PREFERENCE


class LabelKey(NamedTuple):
    """What is labelled: one answer, or two."""

    suite: str
    question_id: str
    repeat: int
    metric: str
    model: str
    rival: str | None


class Label(BaseModel):
    """A line of a label file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    question_id: str
    repeat: int = Field(default=0, ge=0)
    metric: str = Field(default=PREFERENCE, description="the task that is rated; `preference` for two answers")
    model: str = Field(description="identity of the model whose answer it is")
    rival: str | None = Field(default=None, description="identity of the model that it is compared with")
    score: float
    rater: str = Field(default="", description="who says so")

    @property
    def key(self) -> LabelKey:
        """What is labelled."""
        return LabelKey(self.suite, self.question_id, self.repeat, self.metric, self.model, self.rival)


def read_labels(path: Path, known: Container[LabelKey] | None = None) -> list[Label]:
    """The labels of a file. A rater's later label of the same thing replaces the earlier one.

    `known` is what can be labelled; a comparison counts as known in either order.

    Raises:
        UserError: A line cannot be read, has a score outside 0 to 1 for two answers, or labels what is not known. The
            message names file and line.
    """
    labels: dict[tuple[LabelKey, str], Label] = {}
    unknown: list[tuple[int, Label]] = []
    for number, row in _rows(path):
        label = _label(path, number, row)
        if known is not None and label.key not in known:
            turned = _turned(label)
            if turned.key not in known:
                unknown.append((number, label))
            label = turned
        labels[label.key, label.rater] = label
    if unknown:
        number, label = unknown[0]
        more = f" ({len(unknown)} lines in all)" if len(unknown) > 1 else ""
        models = f"{label.model[:20]} and {label.rival[:20]}" if label.rival else label.model[:20]
        raise UserError(
            f"{path}:{number}: no answer of {models} to item {label.question_id!r} of suite {label.suite!r}"
            f" (repeat {label.repeat}, {label.metric}) in this evaluation{more}",
            hint="labels belong to the evaluation that they were made from: give that one, or label this one",
        )
    if not labels:
        raise UserError(f"{path}: holds no label", hint="`opencharacter evaluate label` makes a label file")
    return list(labels.values())


def append_label(path: Path, label: Label) -> None:
    """Add a line to a label file (JSONL)."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(label.model_dump(mode="json"), ensure_ascii=False) + "\n")


def people(labels: Sequence[Label]) -> dict[LabelKey, float]:
    """The mean of the raters for each thing that is labelled."""
    found: dict[LabelKey, list[float]] = {}
    for label in labels:
        found.setdefault(label.key, []).append(label.score)
    return {key: sum(scores) / len(scores) for key, scores in found.items()}


def label_ratings(labels: Sequence[Label], clusters: Mapping[str, str | None]) -> Iterator[Rating]:
    """The labels as ratings by their raters, to see how far these agree; `clusters` by item."""
    for label in labels:
        unit = json.dumps(label.key)
        yield Rating(unit, clusters.get(label.question_id), label.metric, label.rater, label.score)


def _turned(label: Label) -> Label:
    if label.rival is None:
        return label
    return label.model_copy(update={"model": label.rival, "rival": label.model, "score": 1 - label.score})


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            if path.suffix == ".csv":
                reader = csv.DictReader(stream, restkey="more", strict=True)
                for row in reader:
                    yield reader.line_num, {name: value for name, value in row.items() if value not in ("", None)}
                return
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, json.loads(line)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{number}: not a JSON object: {error.msg}") from error
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a row of a CSV file: {error}") from error


def _label(path: Path, number: int, row: Any) -> Label:
    try:
        label = Label.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise UserError(
            f"{path}:{number}: {where}: {first['msg']}",
            hint=f"a label has the fields {', '.join(Label.model_fields)}",
        ) from error
    if label.rival is not None and not 0 <= label.score <= 1:
        raise UserError(
            f"{path}:{number}: score: expected 0, 0.5 or 1 for two answers, got {label.score:g}",
            hint="1: the answer of `model` is better, 0: that of `rival`",
        )
    if (label.rival is None) == (label.metric == PREFERENCE):
        raise UserError(
            f"{path}:{number}: metric: '{PREFERENCE}' is for two answers, a task's name for one",
            hint="two answers have a `model` and a `rival`",
        )
    return label
