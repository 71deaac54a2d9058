"""What suites ask, in calls and tokens: the code of the run itself makes the calls, and a stand-in answers.

So a plan cannot differ from the run. Only the suite `grid` of a run that has no mixture yet is counted by its settings,
in `workload.py`.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from opencharacter.engines import ChatReply, EngineConfig, Sampling
from opencharacter.engines.rehearsal import rehearse
from opencharacter.evaluation.measures import make_measure
from opencharacter.evaluation.measures.protocol import ATTEMPTS
from opencharacter.evaluation.references import Named
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import Judge, Subject
from opencharacter.evaluation.suite import Suite
from opencharacter.evaluation.suite_config import LikelihoodMeasure
from opencharacter.hashing import digest
from opencharacter.planning.figures import Amount, Assumptions, Share
from opencharacter.planning.tokens import TextLengths, TokenEstimates, text_lengths
from opencharacter.progress import hidden
from opencharacter.records.evaluation import Item
from opencharacter.records.models import Usage
from opencharacter.storage.workspace import Workspace

_COUNTED_EXACTLY = 200
"""Prompts of a model that its tokenizer counts; the others are taken to have as many characters a token."""
_WORDS = "The lamp was lit and nobody in the room spoke of it. "

Role = Literal["model", "judge"]


@dataclass(frozen=True)
class CallVolume:
    """Chat calls to one model: as many as there are if every first answer is usable, and as the attempts allow."""

    calls: int = 0
    calls_at_most: int = 0
    tokens_in: float = 0
    tokens_out: float = 0

    def __add__(self, other: "CallVolume") -> "CallVolume":
        return CallVolume(
            self.calls + other.calls,
            self.calls_at_most + other.calls_at_most,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )


@dataclass(frozen=True)
class Asked:
    """What one model or judge is asked in one suite."""

    suite: str
    role: Role
    named: Named
    volume: CallVolume


def rehearse_suites(
    suites: Sequence[Suite],
    models: Sequence[Named],
    judges: Sequence[Named],
    assumptions: Assumptions,
    *,
    seed: int,
    answer_tokens: Mapping[str, float | None],
) -> list[Asked]:
    """What suites of one run ask, each call counted with the first suite that makes it; losses take no calls.

    Args:
        suites: As the run gets them.
        models: The models.
        judges: The judges.
        assumptions: Lengths that are not known.
        seed: The seed of the run.
        answer_tokens: Mean tokens of an answer, by suite; none: as assumed.

    Raises:
        UserError: A suite needs what was not given.
    """
    named = {("model", each.name): each for each in models} | {("judge", each.name): each for each in judges}
    key = digest(
        {
            "suites": [
                [suite.name, suite.digest, suite.items_digest, answer_tokens.get(suite.name)] for suite in suites
            ],
            "asked": [[*asked, text_lengths(_tokenizer(each), assumptions).source] for asked, each in named.items()],
            "figures": assumptions.figures.figures.model_dump(mode="json"),
            "seed": seed,
        }
    )
    if key not in _KNOWN:
        _KNOWN[key] = _rehearse(suites, models, judges, Assumptions(assumptions.figures), seed, answer_tokens)
    found = _KNOWN[key]
    assumptions.used |= found.assumed
    return [Asked(suite, role, named[role, name], volume) for (suite, role, name), volume in found.volumes.items()]


class _Rehearsed(NamedTuple):
    """What a rehearsal found."""

    volumes: dict[tuple[str, Role, str], CallVolume]
    """By suite, role and name."""
    assumed: dict[str, Amount | Share]
    """Figures that it took."""


_KNOWN: dict[str, _Rehearsed] = {}
"""A rehearsal takes a second or more: plans that differ in something else share it."""


def _rehearse(
    suites: Sequence[Suite],
    models: Sequence[Named],
    judges: Sequence[Named],
    assumptions: Assumptions,
    seed: int,
    answer_tokens: Mapping[str, float | None],
) -> _Rehearsed:
    counter = _Counter(assumptions, answer_tokens)
    subjects = [counter.subject(named) for named in models]
    panel = [counter.judge(named) for named in judges]
    with tempfile.TemporaryDirectory(prefix="opencharacter-plan-") as folder, hidden(), rehearse(counter):
        workspace = Workspace(folder)
        for suite in suites:
            counter.suite = suite.name
            if (asked := _without_loss(suite, judged=bool(judges))) is not None:
                run_suites([asked], subjects, panel, workspace=workspace, seed=seed)
    return _Rehearsed(dict(counter.volumes), assumptions.used)


def _tokenizer(named: Named) -> str:
    return named.asked.weights or named.asked.model


def scored_tokens(suite: Suite, texts: TokenEstimates) -> float:
    """Tokens of the forward passes that a suite takes of one model."""

    def of(item: Item) -> float:
        system = texts.system({"persona_and_profile": 1}) if item.character_id else 0.0
        turns = sum(texts.text(turn.content) + texts.assumed("mark_tokens") for turn in item.turns)
        return system + turns + texts.text(item.reference or "")

    total = 0.0
    for settings in suite.config.measures:
        if isinstance(settings, LikelihoodMeasure):
            measure = make_measure(settings)
            total += (1 + settings.swap_gap) * sum(of(item) for item in suite.items() if measure.takes(item))
    return total


def _without_loss(suite: Suite, *, judged: bool) -> Suite | None:
    """The suite without measures that load a model's weights; none if nothing is left that is asked of anybody."""
    measures = suite.config.measures
    kept = tuple(settings for settings in measures if not isinstance(settings, LikelihoodMeasure))
    if len(kept) < len(measures) and not judged:
        kept = tuple(settings for settings in kept if not make_measure(settings).needs_judges)
    return replace(suite, config=suite.config.model_copy(update={"measures": kept})) if kept else None


class _Counter:
    """The stand-in for all models and judges: it counts what it is asked, and says something of the assumed length."""

    def __init__(self, assumptions: Assumptions, answer_tokens: Mapping[str, float | None]) -> None:
        self.suite = ""
        """The suite that is rehearsed."""
        self._assumed = assumptions
        self._answer_tokens = answer_tokens
        self.volumes: defaultdict[tuple[str, Role, str], CallVolume] = defaultdict(CallVolume)
        """What was asked, by suite, role and name."""
        self._asked: dict[str, tuple[Role, str, _Tokens]] = {}

    def subject(self, named: Named) -> Subject:
        """A model that this answers for."""
        engine = self._engine("model", named)
        return Subject(named.name, named.reference, f"model {named.name}", engine=engine, family=named.family)

    def judge(self, named: Named) -> Judge:
        """A judge that this answers for."""
        engine = self._engine("judge", named)
        return Judge(named.name, engine, f"judge {named.name}", f"judge {named.name}", named.family)

    def _engine(self, role: Role, named: Named) -> EngineConfig:
        name = f"{role} {named.name}"
        self._asked[name] = role, named.name, _Tokens(text_lengths(_tokenizer(named), self._assumed))
        return EngineConfig(model=name, base_url="http://rehearsal.invalid/v1", concurrency=64)

    def __call__(
        self,
        config: EngineConfig,
        messages: list[dict[str, str]],
        sampling: Sampling,
        seed: int,
        schema: dict[str, Any] | None,
    ) -> ChatReply:
        role, name, tokens = self._asked[config.model]
        marks = self._assumed("mark_tokens") * len(messages)
        tokens_in = tokens.count("".join(message["content"] for message in messages)) + marks
        wished = self._assumed("judgement_tokens") if schema else self._answer_length()
        chars = round(min(wished, sampling.max_tokens) * tokens.chars_per_token)
        if schema:
            text = json.dumps(_filled(schema, schema.get("$defs", {}), _prose(chars, seed)))
            # An object may hold several texts.
            wished = len(text) / tokens.chars_per_token
        else:
            text = _prose(chars, f"{config.model} {seed} {messages[-1]['content'][:80]}")
        tokens_out = min(round(wished), sampling.max_tokens)
        at_most = ATTEMPTS if role == "judge" else 1
        self.volumes[self.suite, role, name] += CallVolume(1, at_most, tokens_in, tokens_out)
        return ChatReply(text, "stop", Usage(calls=1, prompt_tokens=round(tokens_in), completion_tokens=tokens_out))

    def _answer_length(self) -> float:
        measured = self._answer_tokens.get(self.suite)
        return self._assumed("answer_tokens") if measured is None else measured


class _Tokens:
    """Counts tokens: exactly at first, then by characters."""

    def __init__(self, lengths: TextLengths) -> None:
        self._lengths = lengths
        self._texts = 0
        self._chars = 0
        self._tokens = 0.0

    @property
    def chars_per_token(self) -> float:
        """Of the texts so far."""
        return self._chars / self._tokens if self._tokens else self._lengths.chars_per_token

    def count(self, text: str) -> float:
        """Tokens of a text."""
        if self._texts >= _COUNTED_EXACTLY:
            return len(text) / self.chars_per_token
        counted = self._lengths.count(text)
        self._texts, self._chars, self._tokens = self._texts + 1, self._chars + len(text), self._tokens + counted
        return counted


def _prose(chars: int, begin: object) -> str:
    """A text of that length; another beginning makes another text."""
    text = f"[{begin}] "
    return (text + _WORDS * (chars // len(_WORDS) + 1))[: max(chars, len(text))]


def _filled(schema: Mapping[str, Any], defs: Mapping[str, Any], text: str) -> Any:
    """A value that a JSON schema allows; numbers are in the middle, and texts are `text`."""
    if "$ref" in schema:
        return _filled(defs[schema["$ref"].rpartition("/")[2]], defs, text)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if union := schema.get("anyOf") or schema.get("oneOf"):
        return _filled(union[0], defs, text)
    match schema.get("type"):
        case "object":
            return {name: _filled(part, defs, text) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_filled(schema.get("items", {}), defs, text)] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            low = schema.get("minimum", 1)
            return (low + schema.get("maximum", low)) // 2
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return text[: schema.get("maxLength", len(text))]
