"""Looking at what a workspace holds: rows, tables and pages of every output."""

import difflib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from opencharacter import html
from opencharacter.api.boundary import public
from opencharacter.characters.profile import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.records.evaluation import ScoreRow
from opencharacter.records.models import DialogueRow, Persona, Session, TrainingRow
from opencharacter.records.training import LossPoint
from opencharacter.storage import kinds
from opencharacter.storage import workspace as storage
from opencharacter.storage.artifacts import Artifact

if TYPE_CHECKING:
    import pandas

Row = TypeVar("Row")

_ROWS_SHOWN = 5
_LOOKED_AT = [name for name, kind in kinds.KINDS.items() if kind.rows or name == "report"]
_MAKERS = {"mixture": "mix", "model": "train", "evaluation": "evaluate"}


class Output(Generic[Row]):
    """One output of a workspace: an artifact, with its rows at hand.

    Example:
        >>> dialogues = oc.Workspace("work/demo/workspace").output("dialogues")
        >>> dialogues.filter(strategy="R").rows(limit=3)
        >>> dialogues.to_pandas()
    """

    def __init__(self, artifact: Artifact, filters: tuple[Callable[[Row], bool], ...] = ()) -> None:
        self.artifact = artifact
        """The reference that the pipeline's steps take."""
        self._filters = filters

    @property
    def kind(self) -> str:
        """What it is: `characters`, `dialogues`, `mixture`, `model`, `evaluation`, `report` and so on."""
        return self.artifact.kind

    @property
    def counts(self) -> dict[str, int]:
        """Rows by outcome, as the step that made it counted them."""
        return self.artifact.counts

    @property
    def stats(self) -> dict[str, Any]:
        """Times, tokens and further figures of the step that made it."""
        return self.artifact.stats

    @property
    def path(self) -> Path:
        """Its folder on this machine; fetched first if it lies in an object store."""
        return self.artifact.path

    @property
    def filtered(self) -> bool:
        """Whether `filter` leaves rows out."""
        return bool(self._filters)

    def __iter__(self) -> Iterator[Row]:
        """The rows one after the other; a large output does not fill the memory."""
        rows = _rows(self.artifact)
        return (row for row in rows if all(keep(row) for keep in self._filters))

    @public
    def rows(self, limit: int | None = None) -> list[Row]:
        """The rows as a list.

        Args:
            limit: At most so many.

        Raises:
            UserError: Outputs of this kind hold no rows.

        Example:
            >>> output.rows(limit=3)
        """
        return list(itertools.islice(self, limit))

    @public
    def filter(self, keep: Callable[[Row], bool] | None = None, **values: Any) -> "Output[Row]":
        """The same output with some of its rows.

        Args:
            keep: Tells whether a row stays.
            **values: Fields that must have these values.

        Raises:
            UserError: The rows have no such field.

        Example:
            >>> output.filter(strategy="G").filter(lambda row: len(row.turns) > 2)
        """
        files = _kind(self.kind).rows
        model = files[0].model if files else None
        if values and model:
            known = {*model.model_fields, *model.model_computed_fields}
            for name in values:
                if name not in known:
                    raise UserError(
                        f"rows of {self.kind} have no field '{name}'", hint=f"fields: {', '.join(sorted(known))}"
                    )
        filters = self._filters if keep is None else (*self._filters, keep)
        if values:
            filters = (*filters, lambda row: all(getattr(row, name) == value for name, value in values.items()))
        return Output(self.artifact, filters)

    @public
    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a data frame, a column for each field.

        Raises:
            UserError: pandas is not installed, or outputs of this kind hold no rows.

        Example:
            >>> output.to_pandas().groupby("strategy").size()
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_pandas() needs pandas", hint="pip install pandas") from error
        return pandas.DataFrame([row.model_dump(mode="json") for row in self])  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        parts = [counts, "filtered" if self.filtered else "", self.artifact.uri]
        return f"<Output {self.kind}: {'; '.join(filter(None, parts))}>"

    def _repr_html_(self) -> str:
        """How a notebook shows the output."""
        show = _PAGES.get(self.kind)
        if show and not self.filtered:
            return show(self.artifact)
        shown = "".join(_shown(row) for row in self.rows(limit=_ROWS_SHOWN)) if self.kind in _LOOKED_AT else ""
        return _heading(self.artifact, filtered=self.filtered) + shown


class Workspace(storage.Workspace):
    """The outputs of a run, in a folder or below `s3://BUCKET/PREFIX`.

    Example:
        >>> workspace = oc.Workspace("work/demo/workspace")
        >>> workspace.outputs()
        >>> workspace.output("dialogues").to_pandas()
    """

    @public
    def __init__(self, root: str | Path) -> None:
        super().__init__(root)

    @public
    def outputs(self) -> list[Output[Any]]:
        """All outputs that can be looked at, in the order of the pipeline."""
        return [Output(artifact) for kind in _LOOKED_AT for artifact in self.list(kind)]

    @overload
    def output(self, kind: Literal["personas"], key: str | None = None) -> Output[Persona]: ...
    @overload
    def output(self, kind: Literal["sessions"], key: str | None = None) -> Output[Session]: ...
    @overload
    def output(self, kind: Literal["characters"], key: str | None = None) -> Output[CharacterProfile]: ...
    @overload
    def output(self, kind: Literal["dialogues"], key: str | None = None) -> Output[DialogueRow]: ...
    @overload
    def output(self, kind: Literal["mixture"], key: str | None = None) -> Output[TrainingRow]: ...
    @overload
    def output(self, kind: Literal["model"], key: str | None = None) -> Output[LossPoint]: ...
    @overload
    def output(self, kind: Literal["evaluation"], key: str | None = None) -> Output[ScoreRow]: ...
    @overload
    def output(self, kind: str, key: str | None = None) -> Output[Any]: ...

    @public
    def output(self, kind: str, key: str | None = None) -> Output[Any]:
        """One output of a kind: the latest, or the one whose key begins with `key`.

        Args:
            kind: `personas`, `sessions`, `characters`, `dialogues`, `mixture`, `model`, `evaluation` or `report`.
            key: The beginning of its key, where there are several.

        Raises:
            UserError: The kind is unknown, or there is no such output, or several in an object store.

        Example:
            >>> oc.Workspace("work/demo/workspace").output("characters")
        """
        found = [artifact for artifact in self.list(_kind(kind).name) if artifact.key.startswith(key or "")]
        if not found:
            raise self._no_output(kind, key)
        if len(found) > 1 and any("://" in artifact.uri for artifact in found):
            keys = ", ".join(artifact.key[:12] for artifact in found)
            raise UserError(f"{self.uri} holds {len(found)} outputs of kind {kind}", hint=f"give key=, one of {keys}")
        return Output(max(found, key=_committed_at) if len(found) > 1 else found[0])

    def _no_output(self, kind: str, key: str | None) -> UserError:
        present = [other for other in _LOOKED_AT if self.list(other)]
        what = f"output of kind {kind}" + (f" whose key begins with {key}" if key else "")
        hint = f"it holds {', '.join(present)}" if present else "it is empty: name the workspace folder of a run"
        if kind in _MAKERS and present:
            hint += f"; `{_MAKERS[kind]}` makes one"
        return UserError(f"{self.uri} holds no {what}", hint=hint)

    def __repr__(self) -> str:
        return f"Workspace('{self.uri}')"

    def _repr_html_(self) -> str:
        """How a notebook shows the workspace."""
        rows = [(each.kind, each.artifact.key[:12], _counts(each.artifact)) for each in self.outputs()]
        return html.card("Workspace", html.table(["kind", "key", "rows"], rows), subtitle=self.uri)


def model_folder(model: Output[Any] | Artifact) -> Path:
    """The Hugging Face folder of a trained model. Raises `UserError` for an output of another kind."""
    artifact = model.artifact if isinstance(model, Output) else model
    if artifact.kind != "model":
        raise UserError(
            f"expected a trained model, not {artifact.kind}", hint="give what `train` returned, or a folder"
        )
    return artifact.path / kinds.WEIGHTS


def _kind(name: str) -> kinds.Kind:
    if name in kinds.KINDS:
        return kinds.KINDS[name]
    nearest = difflib.get_close_matches(name, kinds.KINDS, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"one of: {', '.join(_LOOKED_AT)}"
    raise UserError(f"unknown kind of output '{name}'", hint=hint)


def _rows(artifact: Artifact) -> Iterator[Any]:
    files = _kind(artifact.kind).rows
    if not files:
        raise UserError(f"an output of kind {artifact.kind} has no rows", hint="display it, or look into its `path`")
    return itertools.chain.from_iterable(file.read(artifact) for file in files if file.exists(artifact))


def _committed_at(artifact: Artifact) -> float:
    return (Path(artifact.uri) / "manifest.json").stat().st_mtime


def _counts(artifact: Artifact) -> str:
    return ", ".join(f"{count} {name}" for name, count in artifact.counts.items())


def _heading(artifact: Artifact, *parts: str, filtered: bool = False) -> str:
    title = f"{artifact.kind} (filtered)" if filtered else artifact.kind
    return html.card(title, html.paragraph(_counts(artifact)), *parts, subtitle=artifact.uri)


def _shown(row: Any) -> str:
    if hasattr(row, "_repr_html_"):
        return str(row._repr_html_())
    if isinstance(row, Session):
        return html.card(row.corpus, html.conversation((turn.role, turn.content) for turn in row.turns))
    if isinstance(row, Persona):
        return html.card(row.source, html.paragraph(row.text), subtitle=row.licence)
    return html.card(type(row).__name__, html.fields((name, str(value)) for name, value in row))


def _mixture_page(artifact: Artifact) -> str:
    cells = kinds.STATISTICS.read(artifact).cells
    rows = [
        (cell.replace("_", " "), figures.rows, figures.characters, figures.sessions, figures.tokens.total)
        for cell, figures in cells.items()
    ]
    table = html.table(["cell", "rows", "characters", "sessions", "tokens"], rows)
    rows_shown: Output[TrainingRow] = Output(artifact)
    return _heading(artifact, table) + "".join(_shown(row) for row in rows_shown.rows(limit=2))


def _model_page(artifact: Artifact) -> str:
    points: Output[LossPoint] = Output(artifact)
    rows = [(point.step, point.loss, point.learning_rate, point.tokens_per_s) for point in points]
    step = max(1, len(rows) // 12)
    table = html.table(["step", "loss", "learning rate", "tokens/s"], [*rows[:-1:step], *rows[-1:]])
    return _heading(artifact, table)


def _evaluation_page(artifact: Artifact) -> str:
    summary = kinds.SUMMARY.read(artifact)
    rows = [
        (score.metric.replace("_", " "), score.cell.replace("_", " "), score.model, score.n, score.mean, score.low,
         score.high)
        for score in summary.scores
    ]  # fmt: skip
    header = ["metric", "cell", "model", "questions", "mean", "low", "high"]
    return _heading(artifact, html.table(header, rows))


def _report_page(artifact: Artifact) -> str:
    return html.page(kinds.REPORT.read(artifact))


_PAGES: dict[str, Callable[[Artifact], str]] = {
    "mixture": _mixture_page,
    "model": _model_page,
    "evaluation": _evaluation_page,
    "report": _report_page,
}
