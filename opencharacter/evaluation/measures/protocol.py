"""What a measure is, and how one is added.

A measure turns the items of a suite, and the answers of the models, into judgements and scores. It is plain code that
asks for replies by yielding calls; who serves them, in which order, and where they are kept is the business of
`running`. All measures of all suites take turns: a judge's server starts once for all of them, and a call that was ever
answered is not made again.

To add one, write its settings in `suite_config.py` (a class with a `kind`), its class in a module of this package, and
put that into `measures.MEASURES`:

    class PraiseMeasure(MeasureBase[PraiseSettings]):
        needs_answers = True                       # False: it runs before any model is asked

        def files(self) -> dict[str, str]:         # texts of the suite that its settings name, by key
            return {"prompt": self.settings.prompt}

        def check(self, templates, where) -> None: # raise UserError before anything is asked
            check_macros(templates[self.settings.prompt], {"answer"}, where)

        def measure(self, work: Work) -> Asking[Measured]:
            answers = [answer for answer in work.answers if answer.answer is not None]
            prompt = work.suite.templates[self.settings.prompt]
            calls = [
                JudgeCall(judge, user_message(prompt.render(answer=answer.answer)), SAMPLING, seed=work.seed)
                for judge in work.judges for answer in answers
            ]
            contents = yield from ask(calls)       # a dict with `status` for each call, in their order; a judge's
            ...                                    # failure was asked again with other seeds before
            return Measured(scores, judgements)

A `JudgeCall`'s `read` turns a reply into the dict that is kept, which has a `status`; the default reads
`{"reason": ..., "score": ...}`. A test drives a measure without any server: `next(measure)`, then `send` the replies.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from opencharacter.characters import CharacterProfile
from opencharacter.engines import ChatReply, Sampling
from opencharacter.errors import UserError
from opencharacter.evaluation.subjects import Judge, Subject
from opencharacter.evaluation.suite import Suite
from opencharacter.generation.calls import Message
from opencharacter.generation.judgements import ContentCall, read_judgement
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, PublishedScore, ScoreRow, Status
from opencharacter.records.judges import CanaryResult
from opencharacter.records.models import Turn
from opencharacter.templates import Template

ATTEMPTS = 3
"""Times that a judge is asked whose reply cannot be used: with another seed each time."""
_AGAIN_TEMPERATURE = 0.7
"""A greedy judge would say the same again."""

ASKED_AGAIN: frozenset[Status] = frozenset({"parse_failure", "refusal"})
"""What is asked for again."""


@dataclass(frozen=True)
class JudgeCall:
    """A question to a judge."""

    judge: Judge
    messages: list[Message]
    sampling: Sampling
    seed: int
    schema: dict[str, Any] | None = None
    read: Callable[[ChatReply], dict[str, Any]] = read_judgement

    @cached_property
    def content(self) -> ContentCall:
        """The call whose address is that of the reply."""
        return ContentCall(self.judge.address, self.messages, self.sampling, self.seed, self.schema)

    def attempt(self, number: int) -> "JudgeCall":
        """The call itself, or from the second attempt on the same question with another seed."""
        if number == 1:
            return self
        sampling = self.sampling.model_copy(update={"temperature": max(self.sampling.temperature, _AGAIN_TEMPERATURE)})
        return replace(self, sampling=sampling, seed=seed64(self.seed, "again", number))


@dataclass(frozen=True)
class LossCall:
    """A forward pass of a model's own weights over a conversation: the mean loss of its answers."""

    subject: Subject
    messages: tuple[Turn, ...]


Request = JudgeCall | LossCall
T = TypeVar("T")
S = TypeVar("S")
Asking = Generator[Sequence[Request], Sequence[dict[str, Any]], T]
"""Yields requests, is sent what was found of each, in their order, and returns its result."""


@dataclass
class Measured:
    """What a measure found."""

    scores: list[ScoreRow] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    canaries: dict[str, CanaryResult] = field(default_factory=dict)
    """How each judge ranked the canaries, by its identity."""


@dataclass(frozen=True)
class Work:
    """What a measure is given."""

    suite: Suite
    items: Sequence[Item]
    """Those of the suite's items that the measure takes."""
    characters: Mapping[str, CharacterProfile]
    subjects: Sequence[Subject]
    answers: Sequence[AnswerRow]
    """The answers of all subjects to `items`; none for a measure that does not need them."""
    judges: Sequence[Judge]
    """Those that score. With several, each judges everything."""
    all_judges: Mapping[str, Judge]
    """By name, also those that only classify or write examples."""
    seed: int
    system: Callable[[Subject, Item, CharacterProfile | None], Turn | None]
    """The system message that a subject is shown for an item, as this character."""

    def item_of(self, answer: AnswerRow) -> Item:
        """The item that was answered."""
        return self._items_by_id[answer.question_id]

    def judge(self, name: str) -> Judge:
        """A judge by name. Raises `UserError` if the run has none of that name."""
        try:
            return self.all_judges[name]
        except KeyError:
            raise UserError(
                f"suite {self.suite.name}: needs a judge '{name}'; there are: {', '.join(self.all_judges) or 'none'}"
            ) from None

    @cached_property
    def _items_by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}


class MeasureBase(Generic[S]):
    """What measures have in common; see the module's description."""

    needs_answers: ClassVar[bool] = True
    needs_judges: ClassVar[bool] = True
    """Whether it is left out where the run has no judge."""

    def __init__(self, settings: S) -> None:
        self.settings = settings

    def files(self) -> dict[str, str]:
        """File names of the texts that the settings name, by dotted key."""
        return {}

    def check(self, templates: Mapping[str, Template], where: str) -> None:
        """Raise `UserError` if the suite's texts do not fit; `where` names file and key of the settings."""

    def takes(self, item: Item) -> bool:
        """Whether the measure takes an item."""
        only: tuple[str, ...] = getattr(self.settings, "only", ())
        return not only or not set(only).isdisjoint(item.tags)

    def check_item(self, item: Item, where: str) -> None:
        """Raise `UserError` if an item that the measure takes does not fit; `where` names file and line."""

    def judges(self) -> list[str]:
        """Names of judges that the settings ask for besides the run's."""
        return []

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask, and turn what was found into scores."""
        raise NotImplementedError

    def published(self, rows: Sequence[ScoreRow]) -> dict[str, PublishedScore]:
        """One model's scores as a published benchmark prints them; none for a measure of ours."""
        return {}


def ask(calls: Sequence[JudgeCall]) -> Asking[list[dict[str, Any]]]:
    """What the judges say to each call, a reply that can be used where one of the attempts gave one."""
    return list((yield calls)) if calls else []


def check_macros(template: Template, known: set[str], where: str) -> None:
    """Raise `UserError` if a text has a placeholder that nothing fills."""
    if unknown := template.macros - known:
        macros = ", ".join(f"{{{{{name}}}}}" for name in sorted(unknown))
        raise UserError(
            f"{where}: {template.name}: unknown placeholder {macros}", hint=f"known: {', '.join(sorted(known))}"
        )


def user_message(text: str) -> list[Message]:
    """A conversation of one user message."""
    return [{"role": "user", "content": text}]


def row_identity(suite: Suite, item: Item) -> dict[str, Any]:
    """The fields by which a row names its item."""
    return {
        "suite": suite.name,
        "question_id": item.id,
        "character_id": item.character_id,
        "session_id": item.session_id,
        "cell": item.cell,
    }


def is_judged(work: Work, answer: AnswerRow) -> bool:
    """Whether there is something to judge: a cut answer counts, unless the suite gives it a score of its own."""
    if answer.answer is None:
        return False
    return answer.status == "ok" or work.suite.config.failures.get(answer.status, "judge") == "judge"


def unjudged(answer: AnswerRow) -> dict[str, Any]:
    """Status and note of an answer that is not scored.

    One that could not be fetched is no fault of the model; one that it did not give is.
    """
    status = answer.status if answer.status in ("engine_failure", "truncated") else "no_answer"
    return {"status": status, "note": answer.note or answer.status}
