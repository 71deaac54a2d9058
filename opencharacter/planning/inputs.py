"""How much a run reads: local files are counted, the sizes of others come from the table of known data sets."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.mixing.mix_config import GeneralSource
from opencharacter.planning.figures import Assumptions, DataSet
from opencharacter.planning.tokens import TextLengths
from opencharacter.records import BadRow, Persona, RawRow, Session, read_personas, read_raw_rows, read_sessions
from opencharacter.sources.inputs import fetch
from opencharacter.synthesis.synthesis_config import Corpus, PersonaSource

_ELSEWHERE = ("hf://", "s3://")

What = Literal["personas", "sessions", "characters", "dialogues", "general"]


class InputCount(BaseModel):
    """What one source of the run holds. Tokens and turns are sums over all its rows."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="where the run configuration names it")
    uri: str
    what: What
    rows: int = Field(description="rows that count: the good ones, each once")
    bad: int = 0
    duplicates: int = 0
    read: bool = Field(description="whether the file was read; else the rows are an assumption")
    source: str = Field(description="where the numbers come from")
    turns: float = Field(default=0, description="user turns")
    earlier_turns: float = Field(default=0, description="for each turn, the turns before it: what G sends again")
    user_tokens: float = 0
    answer_tokens: float | None = Field(default=None, description="of the source's own answers; none: not known")
    answered_rows: int = Field(default=0, description="sessions that R can rewrite")
    answered_turns: float = 0


def count_inputs(config: RunConfig, assumptions: Assumptions, lengths: TextLengths) -> list[InputCount]:
    """All sources of a run.

    Raises `UserError` if a local file is absent or cannot be read, or if the size of a remote one is not known.
    """
    counter = _Counter(assumptions, lengths)
    inputs = config.inputs
    counts = [counter.personas(f"inputs.personas.{i}", source) for i, source in enumerate(inputs.personas)]
    counts += [counter.sessions(f"inputs.corpora.{i}", corpus, "sessions") for i, corpus in enumerate(inputs.corpora)]
    if dataset := inputs.dataset:
        counts.append(counter.published("inputs.dataset.characters", dataset.characters, "characters", None))
        counts.append(counter.published("inputs.dataset.dialogues", dataset.dialogues, "dialogues", dataset.limit))
    counts += [counter.sessions(f"mix.general.{i}", source, "general") for i, source in enumerate(config.mix.general)]
    return counts


def mean_persona_tokens(inputs: Iterable[InputCount]) -> float | None:
    """Mean length of a persona; none without personas."""
    personas = [count for count in inputs if count.what == "personas"]
    rows = sum(count.rows for count in personas)
    return sum(count.user_tokens for count in personas) / rows if rows else None


class _Counter:
    def __init__(self, assumptions: Assumptions, lengths: TextLengths) -> None:
        self._assumptions = assumptions
        self._lengths = lengths
        self._seen: set[tuple[str, str]] = set()

    def personas(self, key: str, source: PersonaSource) -> InputCount:
        if source.uri.startswith(_ELSEWHERE):
            count = self._assumed(key, source.uri, "personas", source.limit)
            count.user_tokens = count.rows * self._assumptions("persona_tokens")
            return count
        count = self._read(key, source.uri, "personas")
        rows = read_personas(
            fetch(source.uri), name=source.uri, licence=source.license, format=source.format, limit=source.limit
        )
        persona: Persona
        for persona in self._good(count, rows, "personas"):
            count.user_tokens += self._lengths.count(persona.text)
        return count

    def sessions(self, key: str, source: Corpus | GeneralSource, what: What) -> InputCount:
        if source.uri.startswith(_ELSEWHERE):
            return self._assumed(key, source.uri, what, source.limit)
        count = self._read(key, source.uri, what)
        count.answer_tokens = 0
        rows = read_sessions(
            fetch(source.uri),
            name=source.uri,
            corpus=source.name,
            licence=source.license,
            format=source.format,
            limit=source.limit,
        )
        session: Session
        for session in self._good(count, rows, what):
            turns = len(session.user_turns)
            count.turns += turns
            count.earlier_turns += turns * (turns - 1) / 2
            count.user_tokens += sum(map(self._lengths.count, session.user_turns))
            if session.has_answers:
                count.answered_rows += 1
                count.answered_turns += turns
                answers = [turn.content for turn in session.turns if turn.role == "assistant"]
                count.answer_tokens += sum(map(self._lengths.count, answers))
        return count

    def published(self, key: str, uri: str, what: What, limit: int | None) -> InputCount:
        if uri.startswith(_ELSEWHERE):
            return self._assumed(key, uri, what, limit)
        count = self._read(key, uri, what)
        count.answer_tokens = 0
        for row in read_raw_rows(fetch(uri), uri, text=False):
            if limit is not None and count.rows + count.bad == limit:
                break
            if isinstance(row, BadRow) or not isinstance(row.value, dict):
                count.bad += 1
                continue
            count.rows += 1
            if what == "dialogues":
                count.turns += 1
                count.user_tokens += self._lengths.count(str(row.value.get("question", "")))
                count.answer_tokens += self._lengths.count(str(row.value.get("character_answer", "")))
        count.answered_rows, count.answered_turns = count.rows, count.turns
        return self._not_empty(count)

    def _good(self, count: InputCount, rows: Iterable[Any], kind: str) -> Iterator[Any]:
        """The good rows, each identity once, as the ingest step takes them."""
        for row in rows:
            if isinstance(row, BadRow | RawRow):
                count.bad += 1
            elif (kind, row.id) in self._seen:
                count.duplicates += 1
            else:
                self._seen.add((kind, row.id))
                count.rows += 1
                yield row
        self._not_empty(count)

    def _not_empty(self, count: InputCount) -> InputCount:
        if not count.rows:
            raise UserError(f"{count.uri}: no usable row for {count.key} ({count.bad} bad, {count.duplicates} double)")
        return count

    def _read(self, key: str, uri: str, what: What) -> InputCount:
        return InputCount(
            key=key, uri=uri, what=what, rows=0, read=True, source=f"counted; lengths by {self._lengths.source}"
        )

    def _assumed(self, key: str, uri: str, what: What, limit: int | None) -> InputCount:
        known = next(
            (data for start, data in self._assumptions.figures.datasets.items() if uri.startswith(start)), None
        )
        if known is None and limit is None:
            raise UserError(
                f"{key}: {uri} is not read for a plan, and its size is not known",
                hint=f'set {key}.limit, or give its rows in a --prices file: datasets: {{"{uri}": {{rows: 1000}}}}',
            )
        if known is None:
            known = DataSet(rows=limit or 1, source="the run's limit; one answered turn each")
        rows = min(limit or known.rows, known.rows)
        turns, of_turn = rows * known.turns, self._assumptions("question_tokens")
        return InputCount(
            key=key,
            uri=uri,
            what=what,
            rows=rows,
            read=False,
            source=known.source if rows == known.rows else f"the run's limit, of {known.rows:,} ({known.source})",
            turns=turns,
            earlier_turns=turns * (known.turns - 1) / 2,
            user_tokens=turns * of_turn,
            answered_rows=rows if known.answered else 0,
            answered_turns=turns if known.answered else 0,
        )
