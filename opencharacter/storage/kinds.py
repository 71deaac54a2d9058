"""The kinds of output: the files of each kind, and the models of their content.

Steps use the files below: `CHARACTERS.write(draft.path, profiles)`, `CHARACTERS.read(artifact)`. Names and models of
files are in this module only. `KINDS` lists the files by kind.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import load_prompt
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, ScoreRow, Summary
from opencharacter.records.judges import JudgesReport
from opencharacter.records.mixture import MixtureStatistics
from opencharacter.records.models import Cell, DialogueRow, Persona, Session, TrainingRow
from opencharacter.records.registry import RegisteredModel
from opencharacter.records.rows import BadRow
from opencharacter.records.training import Lineage, LossPoint
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.jsonl import read_jsonl, read_lines, read_models, write_jsonl
from opencharacter.templates import Template

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class OutputFile:
    """A file of an output; `name` is its path inside the output's folder."""

    name: str

    def exists(self, artifact: Artifact) -> bool:
        """Whether the output has the file."""
        return artifact.file(self.name).is_file()

    def path(self, artifact: Artifact) -> Path:
        """The file on this machine, fetched if needed. Raises `UserError` if the output does not have it."""
        path = artifact.file(self.name)
        if not path.is_file():
            kinds = " or ".join(kind.name for kind in KINDS.values() if self in (*kind.rows, *kind.files))
            raise UserError(
                f"{artifact.uri}: the output has no file {self.name}",
                hint=f"it is of kind {artifact.kind}; expected one of kind {kinds}",
            )
        return path


@dataclass(frozen=True)
class RowsFile(OutputFile, Generic[M]):
    """A JSONL file of rows."""

    model: type[M]

    def read(self, artifact: Artifact) -> Iterator[M]:
        """The rows, one after the other. Raises `UserError` if the file is absent or damaged."""
        return read_models(self.path(artifact), self.model)

    def read_raw(self, artifact: Artifact) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, which takes half the time: the step that wrote them has validated them."""
        return read_jsonl(self.path(artifact))

    def read_lines(self, artifact: Artifact) -> Iterator[tuple[str, dict[str, Any]]]:
        """`read_raw`, each row with the text of its line, which takes less memory to keep."""
        return read_lines(self.path(artifact))

    def write(self, folder: Path, rows: Iterable[M | dict[str, Any]]) -> int:
        """Write the rows into the folder of a draft. Returns their number."""
        return write_jsonl(folder / self.name, rows)


@dataclass(frozen=True)
class JsonFile(OutputFile, Generic[M]):
    """A file that holds one JSON object."""

    model: type[M]

    def read(self, artifact: Artifact) -> M:
        """The object. Raises `UserError` if the file is absent, `OpenCharacterError` if it is damaged."""
        path = self.path(artifact)
        try:
            return self.model.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            location = ".".join(map(str, first["loc"])) or "the file"
            raise OpenCharacterError(f"{artifact.uri}/{self.name}: {location}: {first['msg']}") from error

    def write(self, folder: Path, value: M) -> None:
        """Write the object into the folder of a draft."""
        text = json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False, indent=2)
        (folder / self.name).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class TextFile(OutputFile):
    """A file of text."""

    def read(self, artifact: Artifact) -> str:
        """The text. Raises `UserError` if the file is absent."""
        return self.path(artifact).read_text(encoding="utf-8")

    def write(self, folder: Path, text: str) -> None:
        """Write the text into the folder of a draft."""
        (folder / self.name).write_text(text, encoding="utf-8", newline="\n")


class RejectedRow(BaseModel):
    """A row that was rejected, and why; the step that rejected it adds its own keys."""

    model_config = ConfigDict(extra="allow")

    reason: str


class DatasetCharacter(BaseModel):
    """A character's id in a published data set, and in this library, where equal characters share one id."""

    release_id: str
    character_id: str


PERSONAS = RowsFile("personas.jsonl.zst", Persona)
SESSIONS = RowsFile("sessions.jsonl.zst", Session)
QUARANTINE = RowsFile("quarantine.jsonl", BadRow)
CHARACTERS = RowsFile("characters.jsonl.zst", CharacterProfile)
DIALOGUES = RowsFile("dialogues.jsonl.zst", DialogueRow)
REJECTED = RowsFile("rejected.jsonl", RejectedRow)
DATASET_CHARACTERS = RowsFile("release_ids.jsonl", DatasetCharacter)

CELLS: dict[Cell, RowsFile[TrainingRow]] = {cell: RowsFile(f"{cell}.jsonl.zst", TrainingRow) for cell in get_args(Cell)}
"""The rows of a mixture: a file for each cell of the split grid."""
STATISTICS = JsonFile("statistics.json", MixtureStatistics)
MIXTURE_PROMPT = TextFile("system.md")
"""The template that the system messages of a mixture were rendered with."""
CARD = TextFile("README.md")
"""The card of a data set or model, in the hub's form."""

WEIGHTS = "model"
"""The folder of a `model` output that holds weights and tokenizer."""
LOSS = RowsFile("loss.jsonl", LossPoint)
LINEAGE = JsonFile(f"{WEIGHTS}/opencharacter/model.json", Lineage)
SYSTEM_PROMPT = TextFile(f"{WEIGHTS}/opencharacter/system.md")

SCORES = RowsFile("rows.jsonl.zst", ScoreRow)
ITEMS = RowsFile("items.jsonl.zst", Item)
ANSWERS = RowsFile("answers.jsonl.zst", AnswerRow)
JUDGEMENTS = RowsFile("judgements.jsonl.zst", Judgement)
SUMMARY = JsonFile("summary.json", Summary)
JUDGES = JsonFile("judges.json", JudgesReport)
"""What a run found of its judges; absent where it had none."""
SMOKE_QUESTION = TextFile("smoke_question.json")

VERSION = JsonFile("version.json", RegisteredModel)
SERVICE = TextFile("inferenceservice.yaml")
REPORT = TextFile("report.html")


def suite_of(evaluation: Artifact) -> str:
    """The suite that an evaluation measured. One without a name was made before there were suites."""
    return SUMMARY.read(evaluation).suite


def mixture_template(mixture: Artifact) -> Template:
    """The template that a mixture's system messages were rendered with.

    A mixture without one was made before system prompts had names: its rows have the immersive one.
    """
    if MIXTURE_PROMPT.exists(mixture):
        return Template(MIXTURE_PROMPT.name, MIXTURE_PROMPT.read(mixture))
    return load_prompt("immersive")


def model_template(folder: Path) -> Template | None:
    """The template that a model folder brings; none where the model was not trained for characters."""
    path = folder / Path(SYSTEM_PROMPT.name).relative_to(WEIGHTS)
    return Template(path.name, path.read_bytes().decode("utf-8")) if path.is_file() else None


@dataclass(frozen=True)
class Kind:
    """A kind of output.

    `rows` are the files that together hold its rows, all of one model; `files` are its other files.
    """

    name: str
    rows: tuple[RowsFile[Any], ...] = ()
    files: tuple[OutputFile, ...] = ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("personas", (PERSONAS,), (QUARANTINE,)),
        Kind("sessions", (SESSIONS,), (QUARANTINE,)),
        Kind("profiles_rows"),
        Kind("characters", (CHARACTERS,), (REJECTED, DATASET_CHARACTERS)),
        Kind("responses_rows"),
        Kind("dialogues", (DIALOGUES,), (REJECTED,)),
        Kind("mixture", tuple(CELLS.values()), (CHARACTERS, STATISTICS, MIXTURE_PROMPT, QUARANTINE, CARD)),
        Kind("model", (LOSS,), (LINEAGE, SYSTEM_PROMPT, CARD)),
        Kind("evaluation", (SCORES,), (CHARACTERS, ITEMS, ANSWERS, JUDGEMENTS, JUDGES, SUMMARY, SMOKE_QUESTION)),
        Kind("version", files=(VERSION,)),
        Kind("deployment", files=(SERVICE,)),
        Kind("report", files=(REPORT,)),
    )
}
"""Every kind of output by name. A kind that ends in `_rows` marks a finished shard, whose rows are in the row store."""
