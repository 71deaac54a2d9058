"""How much a run reads: local files are counted, the sizes of others come from the table of known data sets."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.characters import CharacterProfile
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.mixing.mix_config import GeneralSource
from opencharacter.planning.figures import Assumptions, DataSet
from opencharacter.planning.sources import SourceLook, What, describe_sources, look_at_sources, require_readable
from opencharacter.planning.tokens import TextLengths
from opencharacter.records import DialogueRow, Persona, Session
from opencharacter.synthesis.synthesis_config import Corpus, PersonaSource


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
    files: list[str] = Field(default=[], description="a line for each file: what it is, and its rows")
    turns: float = Field(default=0, description="user turns")
    earlier_turns: float = Field(default=0, description="for each turn, the turns before it: what G sends again")
    user_tokens: float = 0
    answer_tokens: float | None = Field(default=None, description="of the source's own answers; none: not known")
    answered_rows: int = Field(default=0, description="sessions that R can rewrite")
    answered_turns: float = 0


def count_inputs(config: RunConfig, assumptions: Assumptions, lengths: TextLengths) -> list[InputCount]:
    """All sources of a run.

    Raises `UserError` if the run would refuse a local source, or if the size of a remote one is not known.
    """
    tally = _Tally(assumptions, lengths)
    looks = look_at_sources(config, tally.add)
    require_readable(looks)
    limits = _limits(config)
    return [tally.count(look, limits[look.key]) for look in looks]


def _limits(config: RunConfig) -> dict[str, int | None]:
    inputs, dataset = config.inputs, config.inputs.dataset
    listed: dict[str, Sequence[PersonaSource | Corpus | GeneralSource]] = {
        "inputs.personas": inputs.personas,
        "inputs.corpora": inputs.corpora,
        "mix.general": config.mix.general,
    }
    limits = {f"{section}.{i}": source.limit for section, sources in listed.items() for i, source in enumerate(sources)}
    if inputs.characters:
        limits["inputs.characters"] = inputs.characters.limit
    return limits | {"inputs.dataset.characters": None, "inputs.dataset.dialogues": dataset.limit if dataset else None}


def mean_persona_tokens(inputs: Iterable[InputCount]) -> float | None:
    """Mean length of a persona; none without personas."""
    personas = [count for count in inputs if count.what == "personas"]
    rows = sum(count.rows for count in personas)
    return sum(count.user_tokens for count in personas) / rows if rows else None


class _Tally:
    def __init__(self, assumptions: Assumptions, lengths: TextLengths) -> None:
        self._assumptions = assumptions
        self._lengths = lengths
        self._sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, look: SourceLook, row: Persona | Session | CharacterProfile | DialogueRow) -> None:
        """Count the texts of a row."""
        sums, count = self._sums[look.key], self._lengths.count
        if isinstance(row, Persona):
            sums["user_tokens"] += count(row.text)
        elif isinstance(row, Session):
            turns = len(row.user_turns)
            sums["turns"] += turns
            sums["earlier_pairs"] += turns * (turns - 1)
            sums["user_tokens"] += sum(map(count, row.user_turns))
            if row.has_answers:
                sums["answered_rows"] += 1
                sums["answered_turns"] += turns
                sums["answer_tokens"] += sum(count(turn.content) for turn in row.turns if turn.role == "assistant")
        else:
            sums["answered_rows"] += 1
            if isinstance(row, DialogueRow):
                question, answer = row.turns
                sums["turns"] += 1
                sums["answered_turns"] += 1
                sums["user_tokens"] += count(question.content)
                sums["answer_tokens"] += count(answer.content)

    def count(self, look: SourceLook, limit: int | None) -> InputCount:
        """What a source holds, or is taken to hold where it is not read."""
        if not look.read:
            assumed = self._assumed(look.key, look.uri, look.what, limit)
            if look.what == "personas":
                assumed.user_tokens = assumed.rows * self._assumptions("persona_tokens")
            return assumed
        sums = self._sums[look.key]
        return InputCount(
            key=look.key,
            uri=look.uri,
            what=look.what,
            rows=look.rows,
            bad=look.bad,
            duplicates=look.duplicates,
            read=True,
            source=f"counted; lengths by {self._lengths.source}",
            files=list(describe_sources([look])),
            turns=sums["turns"],
            earlier_turns=sums["earlier_pairs"] / 2,
            user_tokens=sums["user_tokens"],
            answer_tokens=None if look.what == "personas" else sums["answer_tokens"],
            answered_rows=int(sums["answered_rows"]),
            answered_turns=sums["answered_turns"],
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
