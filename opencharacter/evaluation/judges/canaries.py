"""Canaries: answers known to be worse than those that they are made of. A judge that cannot tell is refused."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from opencharacter.characters import CharacterProfile, render_profile
from opencharacter.evaluation.figures import share
from opencharacter.hashing import seed64
from opencharacter.records.judges import CanaryKind, CanaryResult, Figure, JudgeVerdict

KINDS: tuple[CanaryKind, ...] = get_args(CanaryKind)

MOST_WRONG = 0.10
"""Share of canaries that a judge may rank wrongly."""
FEWEST = 20
"""Canaries without which nothing is said about a judge."""

_OFF_CHARACTER = (
    "Great question! Here is a short overview. There are several factors to consider, and the best choice depends on"
    " your needs. Consider your budget, read reviews and compare the options before you decide. I hope this helps!",
    "Sure, happy to help with that! In general there are three steps: gather the facts, weigh the pros and cons, and"
    " pick what suits you. Let me know if you would like a more detailed breakdown.",
    "Thank you for your message. Your request has been received and forwarded to the responsible department. You will"
    " get an answer within five working days.",
)
_AI_DISCLOSURE = (
    "As an AI language model I have no life, no feelings and no past, so I cannot answer this as a person would. The"
    " character that you mention is made up.",
    "I'm an AI assistant made to answer questions. I don't have a name, a home or experiences of my own, and I'm only"
    " asked to pretend to be somebody.",
)
_PADDING = (
    "And that is really all there is to say about it.",
    "To put it in other words, it is what it is, and I mean it as I say it.",
    "There is much more that could be said, and one could go on about it for a long time.",
    "But as I say, that is how it is, and it has been so for as long as anybody can remember.",
    "One thing leads to another, as it always does, and in the end it all comes together somehow.",
    "I have said it before, and I shall say it again whenever it needs to be said.",
)


class Original(NamedTuple):
    """An answer that canaries are made of."""

    answer_id: str
    item: str
    character: CharacterProfile
    character_id: str
    text: str


class Canary(NamedTuple):
    """A text to be judged in place of an original answer."""

    kind: CanaryKind
    text: str


def make_canaries(original: Original, others: Sequence[Original], seed: int) -> list[Canary]:
    """The canaries of an answer: one of each kind, without `other_character` where no other character has answered.

    Every text depends on the original, the others and the seed alone.
    """

    def pick(kind: str, texts: Sequence[str]) -> str:
        return texts[seed64(seed, "canary", kind, original.answer_id) % len(texts)]

    strangers = [other for other in others if other.character_id != original.character_id]
    strangers = [other for other in strangers if other.item == original.item] or strangers
    canaries = [
        Canary("empty", ""),
        Canary("off_character", pick("off_character", _OFF_CHARACTER)),
        Canary("ai_disclosure", pick("ai_disclosure", _AI_DISCLOSURE)),
        Canary("profile_pasted", render_profile(original.character) or original.character.persona or ""),
        Canary("padded", pad(original.text)),
    ]
    if strangers:
        stranger = strangers[seed64(seed, "canary", "stranger", original.answer_id) % len(strangers)]
        canaries.append(Canary("other_character", stranger.text))
    return canaries


def pad(text: str) -> str:
    """The text with sentences that say nothing, until it is twice as long."""
    parts, length, place = [text], len(text), seed64("padding", text)
    while length < 2 * len(text):
        sentence = _PADDING[place % len(_PADDING)]
        parts.append(sentence)
        length += len(sentence) + 1
        place += 1
    return " ".join(parts)


class RankedCanary(NamedTuple):
    """What a judge says of a canary and of its original; scores or shares of comparisons won."""

    kind: CanaryKind
    original: float
    canary: float


def rank_canaries(ranked: Iterable[RankedCanary], worst: float) -> CanaryResult:
    """Count the wrong ranks. `worst` is the lowest score that a judge can give.

    A padded answer may tie with its original, since length alone is worth nothing; every other canary must be worse.
    """
    wrongs: dict[CanaryKind, list[float]] = {kind: [] for kind in KINDS}
    unrankable = 0
    for kind, original, canary in ranked:
        if kind == "padded":
            wrongs[kind].append(float(canary > original))
        elif original <= worst:
            unrankable += 1
        else:
            wrongs[kind].append(1.0 if canary > original else 0.5 if canary == original else 0.0)
    figure = _share([wrong for kind in KINDS for wrong in wrongs[kind]])
    # Padded answers alone say nothing: a judge with one score for all ties them, which is right.
    verdict, reason = _verdict(figure, figure.n - len(wrongs["padded"]))
    return CanaryResult(
        wrong=figure,
        by_kind={kind: _share(found) for kind, found in wrongs.items() if found},
        unrankable=unrankable,
        verdict=verdict,
        reason=reason,
    )


def _verdict(wrong: Figure, rankable: int) -> tuple[JudgeVerdict, str]:
    if wrong.value is None or rankable < FEWEST:
        return "unknown", f"{rankable} worse canaries could be ranked; at least {FEWEST} are needed"
    said = f"ranks {wrong.value:.0%} of {wrong.n} canaries wrongly"
    if wrong.value > MOST_WRONG:
        return "refused", f"{said}, more than {MOST_WRONG:.0%}"
    return "passed", said


def _share(wrongs: Sequence[float]) -> Figure:
    figure = share(round(sum(wrongs)), len(wrongs))
    return figure.model_copy(update={"value": sum(wrongs) / len(wrongs)}) if wrongs else figure
