"""Checks of an answer that need no judge: lengths, words, formats, JSON, order, language, numbers.

Each kind is a model of its arguments with one method, `passes`. `parse_checks` reads an item's checks when its suite is
loaded; `failed_kinds` applies them.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from opencharacter.errors import UserError
from opencharacter.evaluation.measures.languages import Language, language_of
from opencharacter.generation.sentences import count_sentences
from opencharacter.records.evaluation import Check

_SECONDS = 5
"""A pattern that has not matched by then does not match: a suite from elsewhere must not hang the evaluation."""
_FENCE = re.compile(r"\A```[a-zA-Z]*\n(.*?)\n?```\Z", re.DOTALL)
_BULLET = re.compile(r"[ \t]*[-*•–][ \t]+\S")
_NUMBERED = re.compile(r"[ \t]*(\d+)[.)][ \t]+\S")
_MARKER = re.compile(r"[ \t]*(?:[-*•–]|\d+[.)])[ \t]+")
_NUMBER = re.compile(r"(?<![\w.,])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")
_RULE_OF_TABLE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_QUOTES = "\"'“”‘’«»*_`"

_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1)]
_Json = Literal["object", "array", "string", "number", "boolean"]
_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
}


def _compiles(pattern: str) -> str:
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


class _Check(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def passes(self, answer: str) -> bool:
        """Whether the answer, which is stripped, does as the check says."""
        raise NotImplementedError


def _words(text: str) -> list[str]:
    return [word for word in text.split() if any(map(str.isalnum, word))]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _items(text: str) -> list[str]:
    """The lines of a list without their marks; all lines where none has a mark."""
    lines = text.splitlines()
    marked = [line for line in lines if _MARKER.match(line)]
    return [_MARKER.sub("", line).strip().strip(_QUOTES) for line in marked or lines if line.strip()]


_COUNTS: dict[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: len(_words(text)),
    "sentences": count_sentences,
    "lines": lambda text: len(_lines(text)),
    "paragraphs": lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]),
    "bullets": lambda text: len([line for line in text.splitlines() if _BULLET.match(line)]),
    "numbered": lambda text: _numbered(text),
    "questions": lambda text: len(re.findall(r"\?+", text)),
    "exclamations": lambda text: len(re.findall(r"!+", text)),
    "commas": lambda text: text.count(","),
}


def _numbered(text: str) -> int:
    """Items of a list numbered 1, 2, 3; 0 where the numbers are others."""
    numbers = [int(mark[1]) for line in text.splitlines() if (mark := _NUMBERED.match(line))]
    return len(numbers) if numbers == list(range(1, len(numbers) + 1)) else 0


class _Range(_Check):
    exactly: int | None = Field(default=None, ge=0)
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> "_Range":
        if (self.exactly is None) == (self.min is None and self.max is None):
            raise ValueError("give either `exactly`, or `min` or `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def _holds(self, count: int) -> bool:
        if self.exactly is not None:
            return count == self.exactly
        return (self.min is None or count >= self.min) and (self.max is None or count <= self.max)


class Count(_Range):
    """How many of something the answer has."""

    kind: Literal[
        "characters",
        "words",
        "sentences",
        "lines",
        "paragraphs",
        "bullets",
        "numbered",
        "questions",
        "exclamations",
        "commas",
    ]

    def passes(self, answer: str) -> bool:
        """Whether the count is in the range."""
        return self._holds(_COUNTS[self.kind](answer))


class WordTimes(_Range):
    """How often a word or phrase occurs, whatever its case."""

    kind: Literal["word_times"]
    word: _Text

    def passes(self, answer: str) -> bool:
        """Whether the number of occurrences is in the range."""
        return self._holds(len(_whole(self.word).findall(answer)))


class Words(_Check):
    """Words or phrases that the answer holds all of, at least one of, or none of, whatever their case."""

    kind: Literal["contains", "contains_any", "excludes"]
    words: _Texts

    def passes(self, answer: str) -> bool:
        """Whether the words occur as the kind says."""
        found = [_whole(word).search(answer) is not None for word in self.words]
        return {"contains": all(found), "contains_any": any(found), "excludes": not any(found)}[self.kind]


class InOrder(_Check):
    """Words or phrases that the answer names one after the other: their first occurrences."""

    kind: Literal["in_order"]
    words: _Texts

    def passes(self, answer: str) -> bool:
        """Whether each word first occurs after the one before it."""
        found = [_whole(word).search(answer) for word in self.words]
        places = [match.start() for match in found if match]
        return len(places) == len(self.words) and places == sorted(places)


class Edge(_Check):
    """How the answer starts or ends, to the letter but for case."""

    kind: Literal["starts_with", "ends_with"]
    text: _Text

    def passes(self, answer: str) -> bool:
        """Whether it starts or ends so."""
        plain, text = _folded(answer), _folded(self.text)
        return plain.startswith(text) if self.kind == "starts_with" else plain.endswith(text)


class Equals(_Check):
    """The whole answer is one of these texts, less case, quotes and a full stop."""

    kind: Literal["equals"]
    values: _Texts

    def passes(self, answer: str) -> bool:
        """Whether it is one of them."""
        return _bare(answer) in {_bare(value) for value in self.values}


class Pattern(_Check):
    """A regular expression that the answer matches somewhere, or nowhere."""

    kind: Literal["matches", "matches_not"]
    pattern: Annotated[_Text, AfterValidator(_compiles)]

    def passes(self, answer: str) -> bool:
        """Whether it matches, or not."""
        import regex

        try:
            found = regex.search(self.pattern, answer, timeout=_SECONDS) is not None
        except TimeoutError:
            return False
        return found == (self.kind == "matches")


class Case(_Check):
    """All letters are capitals, or none is."""

    kind: Literal["case"]
    value: Literal["upper", "lower"]

    def passes(self, answer: str) -> bool:
        """Whether the letters are all of that case."""
        return answer.isupper() if self.value == "upper" else answer.islower()


class JsonReply(_Check):
    """The answer is JSON and nothing else; a code fence around it is allowed."""

    kind: Literal["json"]
    type: Literal["object", "array"] = "object"
    keys: dict[str, _Json] = Field(default={}, description="keys of the object, with the type of each")
    only: bool = Field(default=True, description="no other keys")
    items: _Json | None = Field(default=None, description="type of the array's items")
    length: int | None = Field(default=None, ge=0, description="of the array, or of the object")

    def passes(self, answer: str) -> bool:
        """Whether it is JSON of that form."""
        fenced = _FENCE.match(answer)
        try:
            value: Any = json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return False
        if not _is(value, self.type) or self.length not in (None, len(value)):
            return False
        if isinstance(value, list):
            return self.items is None or all(_is(item, self.items) for item in value)
        if self.only and self.keys and value.keys() != self.keys.keys():
            return False
        return all(key in value and _is(value[key], of) for key, of in self.keys.items())


class Table(_Check):
    """The answer holds a Markdown table with these columns."""

    kind: Literal["table"]
    columns: _Texts
    rows: int | None = Field(default=None, ge=1, description="without the heading")

    def passes(self, answer: str) -> bool:
        """Whether the first table has this heading and as many rows."""
        lines = answer.splitlines()
        for number, line in enumerate(lines[1:], 1):
            if "-" in line and "|" in line and _RULE_OF_TABLE.fullmatch(line):
                body = [row for row in _until_blank(lines[number + 1 :]) if "|" in row]
                heading = [_bare(cell) for cell in lines[number - 1].strip().strip("|").split("|")]
                return heading == [_bare(name) for name in self.columns] and self.rows in (None, len(body))
        return False


class Ordered(_Check):
    """The lines of the answer, or the items of its list, are in order."""

    kind: Literal["ordered"]
    by: Literal["alphabet", "length", "number"]
    descending: bool = False
    count: int | None = Field(default=None, ge=2, description="how many there are")

    def passes(self, answer: str) -> bool:
        """Whether they are sorted, and as many as there should be."""
        items = _items(answer)
        if len(items) < 2 or self.count not in (None, len(items)):
            return False
        keys: list[Any] = [self._key(item) for item in items]
        return None not in keys and keys == sorted(keys, reverse=self.descending)

    def _key(self, item: str) -> Any:
        if self.by == "number":
            numbers = _numbers(item)
            return numbers[0] if numbers else None
        return len(item) if self.by == "length" else _folded(item)


class EachLine(_Check):
    """Each line of the answer, or each item of its list, does as the arguments say."""

    kind: Literal["each_line"]
    starts_with: _Text | None = None
    ends_with: _Text | None = None
    words: int | None = Field(default=None, ge=1, description="exactly so many words")
    max_words: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_something(self) -> "EachLine":
        if not self.model_dump(exclude={"kind"}, exclude_none=True):
            raise ValueError("give one of starts_with, ends_with, words, max_words")
        return self

    def passes(self, answer: str) -> bool:
        """Whether every line does."""
        items = _items(answer)
        return bool(items) and all(map(self._line_passes, items))

    def _line_passes(self, line: str) -> bool:
        plain, count = _folded(line), len(_words(line))
        return (
            plain.startswith(_folded(self.starts_with or ""))
            and plain.endswith(_folded(self.ends_with or ""))
            and self.words in (None, count)
            and (self.max_words is None or count <= self.max_words)
        )


class Acrostic(_Check):
    """The first letters of the lines spell a word."""

    kind: Literal["acrostic"]
    word: _Text

    def passes(self, answer: str) -> bool:
        """Whether they do, with no line besides."""
        first = [next((sign for sign in line if sign.isalnum()), "") for line in _lines(answer)]
        return _folded("".join(first)) == _folded(self.word)


class Number(_Check):
    """The last number of the answer; digits, with or without commas between thousands."""

    kind: Literal["number"]
    value: float
    tolerance: float = Field(default=0, ge=0)

    def passes(self, answer: str) -> bool:
        """Whether the number is the value, within the tolerance."""
        numbers = _numbers(answer)
        return bool(numbers) and abs(numbers[-1] - Decimal(str(self.value))) <= Decimal(str(self.tolerance))


class InLanguage(_Check):
    """The language of the answer: by its script, or by the commonest words of the language."""

    kind: Literal["language"]
    value: Language

    def passes(self, answer: str) -> bool:
        """Whether the answer is in it."""
        return language_of(answer) == self.value


AnyCheck = Annotated[
    Count
    | WordTimes
    | Words
    | InOrder
    | Edge
    | Equals
    | Pattern
    | Case
    | JsonReply
    | Table
    | Ordered
    | EachLine
    | Acrostic
    | Number
    | InLanguage,
    Field(discriminator="kind"),
]
KINDS = frozenset(
    kind for model in get_args(get_args(AnyCheck)[0]) for kind in get_args(model.model_fields["kind"].annotation)
)
"""The kinds of checks."""
_READER: TypeAdapter[AnyCheck] = TypeAdapter(AnyCheck)


def parse_checks(checks: Sequence[Check], place: str) -> list[AnyCheck]:
    """The checks of an item, with their arguments validated.

    Args:
        checks: As `items.jsonl` has them.
        place: What messages call the item, such as `items.jsonl:3`.

    Raises:
        UserError: There is no check, its kind is unknown, or an argument is missing, unknown or wrong.
    """
    if not checks:
        raise UserError(f"{place}: checks: the item has none, so nothing can be scored")
    return [_parse(check, f"{place}: checks[{number}]") for number, check in enumerate(checks)]


def _parse(check: Check, place: str) -> AnyCheck:
    try:
        return _READER.validate_python(check.model_dump())
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "union_tag_invalid":
            known = ", ".join(sorted(KINDS))
            raise UserError(f"{place}: unknown kind {check.kind!r}", hint=f"known: {known}") from error
        key = ".".join(str(part) for part in problem["loc"][1:])
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{place} ({check.kind}){f' {key}' if key else ''}: {message}") from error


def failed_kinds(checks: Sequence[AnyCheck], answer: str) -> list[str]:
    """The kinds of the checks that the answer fails, in their order."""
    text = answer.strip()
    return [check.kind for check in checks if not check.passes(text)]


def _whole(word: str) -> re.Pattern[str]:
    start = r"(?<!\w)" if word[0].isalnum() else ""
    end = r"(?!\w)" if word[-1].isalnum() else ""
    return re.compile(start + r"\s+".join(map(re.escape, word.split())) + end, re.IGNORECASE)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _bare(text: str) -> str:
    return _folded(text).strip(f"{_QUOTES} .!")


def _numbers(text: str) -> list[Decimal]:
    numbers = []
    for match in _NUMBER.finditer(text):
        try:
            numbers.append(Decimal(match.group().replace(",", "").replace("−", "-")))
        except InvalidOperation:
            continue
    return numbers


def _is(value: Any, of: str) -> bool:
    if isinstance(value, bool):
        return of == "boolean"
    return isinstance(value, _JSON_TYPES[of])


def _until_blank(lines: Sequence[str]) -> list[str]:
    ends = [number for number, line in enumerate(lines) if not line.strip()]
    return list(lines[: min(ends, default=len(lines))])
