"""Facts about themselves that characters state, compared with their profiles by a few plain rules.

A cheap look for a teacher that does not read its prompt, over every dialogue. It reads English only, knows four facts,
and only the sentences below; a character who lies, quotes or plays another is counted too. So an example is for a
person to judge, and no finding proves nothing.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from opencharacter.characters.profile import ATTRIBUTES, CharacterProfile

_EXAMPLES = 5
_CONTEXT = 60
_SMALL_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_SMALL = {word: value for value, word in enumerate(_SMALL_NUMBERS.split(), start=1)}
_ROUND_NUMBERS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * value for value, word in enumerate(_ROUND_NUMBERS.split(), start=2)}
_MALE = {"man", "male", "boy", "father", "husband", "grandfather"}
_FEMALE = {"woman", "female", "girl", "mother", "wife", "grandmother"}
_NUMBER = rf"\d{{1,3}}|(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(list(_SMALL)[:9])}))?|{'|'.join(_SMALL)}"
_NAMED = r"[^\W\d_][\w'’-]*"
_PROPER = r"(?-i:[A-Z])[\w'’.-]*(?: (?:(?-i:[A-Z])[\w'’.-]*|of|de|la|del|von|van|al|el))*"
_I_AM = r"\bI(?: am|['’]m)"
_PATTERNS = {
    "name": rf"\bmy name(?: is|['’]s) (?P<name>(?!not\b){_PROPER})",
    "age": rf"(?:{_I_AM} (?:(?:only|just|about|almost|nearly|now|already) )?|\bas an? )"
    rf"(?P<age>{_NUMBER})(?:[ -]years?[ -]old)\b",
    "gender": rf"(?:{_I_AM}|\bas) an? (?P<gender>{'|'.join(sorted(_MALE | _FEMALE))})\b"
    r"(?! of (?:my|his|her|few|many|god))",
    "birth place": rf"\bI was born(?: and (?:raised|bred))? in (?P<place>{_PROPER})",
}
_STATEMENTS = {fact: re.compile(pattern, re.IGNORECASE) for fact, pattern in _PATTERNS.items()}
# What the text of a statement holds in small letters: looking for it is many times faster than the patterns.
_HINTS = {
    "name": ("my name",),
    "age": ("years old", "year old", "year-old", "years-old"),
    "gender": (" am a ", "'m a ", "’m a ", " as a "),
    "birth place": ("i was born",),
}
_QUOTE = re.compile(r"[\"“”„«»]")


@dataclass(frozen=True)
class Contradiction:
    """A statement, and what the profile says instead."""

    character_id: str
    stated: str
    quote: str
    profile: str


@dataclass(frozen=True)
class FactCheck:
    """How many dialogues state a fact that the profile has, and how many state another one."""

    fact: str
    stated: int
    contradicting: int
    examples: list[Contradiction]


class FactCollector:
    """Collects what characters say of themselves; `judge` compares it with their profiles."""

    def __init__(self) -> None:
        self._statements: dict[str, list[tuple[str, str, str]]] = defaultdict(list)

    def add(self, row: dict[str, Any]) -> None:
        """Read a dialogue. Each fact is taken once, where it is stated first."""
        facts: set[str] = set()
        for turn in row["turns"]:
            if turn["role"] != "assistant":
                continue
            text = turn["content"]
            lowered = f" {text.lower()}"
            for fact, statement in _STATEMENTS.items():
                if fact in facts or not any(hint in lowered for hint in _HINTS[fact]):
                    continue
                if found := _first(statement, text):
                    facts.add(fact)
                    stated = " ".join(found[1].split()).rstrip(".,;:!?'’")
                    self._statements[row["character_id"]].append((fact, stated, _around(text, found)))

    def judge(self, characters: Iterable[CharacterProfile]) -> list[FactCheck]:
        """The facts that were stated, in a fixed order."""
        stated: dict[str, int] = defaultdict(int)
        against: dict[str, int] = defaultdict(int)
        examples: dict[str, list[Contradiction]] = defaultdict(list)
        for character in characters:
            for fact, value, quote in self._statements.get(character.id, ()):
                agrees, profile = _COMPARED[fact](character, value)
                if agrees is None:
                    continue
                stated[fact] += 1
                if not agrees:
                    against[fact] += 1
                    if len(examples[fact]) < _EXAMPLES:
                        examples[fact].append(Contradiction(character.id, value, quote, profile))
        return [FactCheck(fact, stated[fact], against[fact], examples[fact]) for fact in _PATTERNS if stated[fact]]


def check_facts(rows: Iterable[dict[str, Any]], characters: Iterable[CharacterProfile]) -> list[FactCheck]:
    """Compare what characters say of themselves with their profiles."""
    collector = FactCollector()
    for row in rows:
        collector.add(row)
    return collector.judge(characters)


def _first(statement: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first statement outside quotation marks."""
    for found in statement.finditer(text):
        if len(_QUOTE.findall(text, 0, found.start())) % 2 == 0:
            return found
    return None


def _around(text: str, found: re.Match[str]) -> str:
    """The statement with some whole words on either side."""
    before = text[: found.start()][-_CONTEXT:]
    after = text[found.end() :][:_CONTEXT]
    if len(before) < found.start():
        before = f"… {before.partition(' ')[2]}"
    if found.end() + len(after) < len(text):
        after = f"{after.rpartition(' ')[0]} …"
    return " ".join(f"{before}{found[0]}{after}".split())


def _compare_name(character: CharacterProfile, stated: str) -> tuple[bool | None, str]:
    if character.name is None:
        return None, ""
    own, said = _tokens(character.name), _tokens(stated)
    return any(one.startswith(other) or other.startswith(one) for one in own for other in said), character.name


def _compare_age(character: CharacterProfile, stated: str) -> tuple[bool | None, str]:
    profile = character.age or ""
    numbers = re.findall(r"(?<![\d.])\d{1,3}(?![\d.]|s\b)", profile)
    said = _number(stated)
    if len(numbers) != 1 or said is None:
        return None, profile
    return abs(int(numbers[0]) - said) <= 1, profile


def _compare_gender(character: CharacterProfile, stated: str) -> tuple[bool | None, str]:
    profile = character.gender or ""
    own = {"m": _MALE, "f": _FEMALE}
    sides = [side for side, words in own.items() if _tokens(profile) & words]
    if len(sides) != 1:
        return None, profile
    return stated.lower() in own[sides[0]], profile


def _compare_place(character: CharacterProfile, stated: str) -> tuple[bool | None, str]:
    if not character.birth_place or not re.search(r"[A-Z]", character.birth_place):
        return None, ""
    everything = _tokens(" ".join(str(getattr(character, name) or "") for name in (*ATTRIBUTES, "persona")))
    return bool(_tokens(stated) & everything), character.birth_place


_COMPARED: dict[str, Callable[[CharacterProfile, str], tuple[bool | None, str]]] = {
    "name": _compare_name,
    "age": _compare_age,
    "gender": _compare_gender,
    "birth place": _compare_place,
}


def _tokens(text: str) -> set[str]:
    return {word for word in re.findall(_NAMED, text.casefold()) if len(word) > 2}


def _number(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    parts = re.split(r"[ -]", text.lower())
    values = [_TENS.get(part) or _SMALL.get(part) for part in parts]
    return sum(filter(None, values)) if all(values) else None
