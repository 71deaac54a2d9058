"""What a regular expression costs the engine that compiles it and then asks it about every token of an answer.

The engine's matcher follows all readings of a text at once, over a vocabulary of some 100,000 tokens, between two steps
of all streams. `.{5,10}.{5,10}.{5,10}` holds everybody up for seconds a token, and `(.*)*(.*)*x` never compiles. So an
expression is turned into the automaton of its positions (Glushkov's), with counted repeats written out; what is
measured there bounds the cost of expressions that nobody has thought of:

* positions, weighted by how many characters each matches: the time of compiling;
* how many positions one text can have reached at once: the time of each token;
* whether a part repeats what can be empty, or repeats in two ways: both make readings without number;
* whether a count stands within a repeat, which the compiler follows in each token to its end.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_LENGTH = 512
MAX_POSITIONS = 500
MAX_AT_ONCE = 4
"""Positions that one text can have reached."""

_MAX_GROUPS = 16
_MAX_PAIRS = 5_000
_MAX_STEPS = 10_000
_LAST = 0x10FFFF

_WEIGHTS = ((1_000, 25), (16, 7), (0, 1))
"""Characters of a position, and milliseconds of compiling it on one core for a vocabulary of 128,000 tokens."""

Ranges = tuple[tuple[int, int], ...]

_ESCAPED_CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32), (160, 160)),
}
_ESCAPED_SIGNS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}
_QUANTIFIER = re.compile(r"\{(\d{1,9})(?:(,)(\d{1,9})?)?\}")
_HEXADECIMAL = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")


class Chars(NamedTuple):
    """One character of some ranges."""

    ranges: Ranges


class Sequence(NamedTuple):
    """Parts, one after the other."""

    parts: tuple["Node", ...]


class Choice(NamedTuple):
    """One of its branches."""

    branches: tuple["Node", ...]


class Repeat(NamedTuple):
    """A part, `least` to `most` times; `most` is none where there is no end."""

    part: "Node"
    least: int
    most: int | None


Node = Chars | Sequence | Choice | Repeat


def regex_cost(pattern: str) -> int:
    """About as many milliseconds as compiling takes on one core for a vocabulary of 128,000 tokens.

    Raises:
        ValueError: The expression is too long, uses a construct that is not accepted, or has too many readings. The
            message continues a sentence that names the field.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"has {len(pattern)} characters; at most {MAX_LENGTH} are allowed")
    expression = _Parser(pattern).parse()
    if (positions := _count_positions(expression)) > MAX_POSITIONS:
        raise ValueError(f"repeats its parts to {positions} positions; at most {MAX_POSITIONS} are allowed")
    automaton = _Automaton()
    first, _, _ = automaton.add(expression)
    automaton.check_readings(first)
    return sum(map(_weight, automaton.characters))


def _weight(characters: Chars) -> int:
    size = sum(last - first + 1 for first, last in characters.ranges)
    return next(weight for more_than, weight in _WEIGHTS if size > more_than)


def _count_positions(node: Node) -> int:
    match node:
        case Chars():
            return 1
        case Sequence(parts) | Choice(parts):
            return sum(map(_count_positions, parts))
        case Repeat(part, least, most):
            return _count_positions(part) * (max(least, 1) if most is None else most)


def _characters(node: Node) -> Iterator[Chars]:
    match node:
        case Chars():
            yield node
        case Sequence(parts) | Choice(parts):
            for part in parts:
                yield from _characters(part)
        case Repeat(part, _, _):
            yield from _characters(part)


class _Parser:
    """A reader of the constructs that every engine understands in the same way."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._groups = 0

    def parse(self) -> Node:
        if self._text.startswith("^"):
            self._at = 1
        node = self._choice()
        if self._at < len(self._text):
            raise self._odd("an unmatched ')'")
        return node

    def _choice(self) -> Node:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        return _factored(branches)

    def _sequence(self) -> tuple[Node, ...]:
        parts: list[Node] = []
        while (sign := self._peek()) not in ("", "|", ")"):
            if sign == "$" and self._at == len(self._text) - 1:
                self._at += 1
                break
            part = self._quantified(self._part())
            parts += part.parts if isinstance(part, Sequence) else [part]
        return tuple(parts)

    def _part(self) -> Node:
        sign = self._next()
        match sign:
            case "(":
                return self._group()
            case "[":
                return self._set()
            case ".":
                return Chars(_complement(((10, 10), (13, 13))))
            case "\\":
                return Chars(self._escape())
            case "*" | "+" | "?" | "{" | "}" | "]" | "^" | "$":
                raise self._odd(f"'{sign}' in a place where it has no meaning; write '\\{sign}' for the sign itself")
        return Chars(((ord(sign), ord(sign)),))

    def _group(self) -> Node:
        self._groups += 1
        if self._groups > _MAX_GROUPS:
            raise ValueError(f"has more than {_MAX_GROUPS} groups within each other")
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise self._odd("a group that begins with '(?'; only '(?:' is understood")
            self._at += 2
        node = self._choice()
        if self._next() != ")":
            raise self._odd("a '(' without its ')'")
        self._groups -= 1
        return node

    def _quantified(self, part: Node) -> Node:
        sign = self._peek()
        if sign not in ("*", "+", "?", "{") or not sign:
            return part
        if sign == "{":
            found = _QUANTIFIER.match(self._text, self._at)
            if found is None:
                raise self._odd("'{' that is no count; write '\\{' for the sign itself")
            self._at = found.end()
            least = int(found[1])
            most = int(found[3]) if found[3] else None if found[2] else least
        else:
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        if most is not None and (most < least or most == 0):
            raise self._odd("a count that ends before it begins")
        if self._peek() == "?":  # the texts that match are the same
            self._at += 1
        if self._peek() in ("*", "+", "?", "{") and self._peek():
            raise self._odd("a quantifier of a quantifier")
        return Repeat(part, least, most)

    def _set(self) -> Node:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while (sign := self._next()) != "]":
            if not sign:
                raise self._odd("a '[' without its ']'")
            if sign == "[":
                raise self._odd("'[' in a set; write '\\[' for the sign itself")
            found = self._escape() if sign == "\\" else ((ord(sign), ord(sign)),)
            if self._peek() == "-" and not self._text.startswith("-]", self._at):
                self._at += 1
                sign = self._next()
                end = self._escape() if sign == "\\" else ((ord(sign), ord(sign)),) if sign else ()
                if len(found) != 1 or len(end) != 1 or found[0][0] > end[0][1]:
                    raise self._odd("a range that ends before it begins")
                found = ((found[0][0], end[0][1]),)
            ranges += found
        if not ranges:
            raise self._odd("an empty set")
        merged = _merged(ranges)
        if negated:
            merged = _complement(merged)
        return Chars(merged)

    def _escape(self) -> Ranges:
        sign = self._next()
        if sign.lower() in _ESCAPED_CLASSES and sign:
            ranges = _ESCAPED_CLASSES[sign.lower()]
            return ranges if sign.islower() else _complement(ranges)
        if found := _HEXADECIMAL.match(self._text, self._at - 1):
            self._at = found.end()
            code = int(found[1] or found[2], 16)
        elif sign in _ESCAPED_SIGNS:
            code = _ESCAPED_SIGNS[sign]
        elif sign and not sign.isalnum():
            code = ord(sign)
        else:
            raise self._odd(f"'\\{sign}', which is not understood")
        return ((code, code),)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        sign = self._peek()
        self._at += 1
        return sign

    def _odd(self, what: str) -> ValueError:
        return ValueError(f"has {what} (character {min(self._at, len(self._text))})")


def _factored(branches: Iterable[tuple[Node, ...]]) -> Node:
    """A choice whose branches begin differently: `(red|rose)` is `r(ed|ose)`."""
    groups: dict[Node | None, list[tuple[Node, ...]]] = {}
    for branch in dict.fromkeys(branches):
        groups.setdefault(branch[0] if branch else None, []).append(branch)
    parts: list[Node] = []
    for members in groups.values():
        if len(members) == 1:
            parts.append(Sequence(members[0]))
            continue
        shared = 1
        while all(len(member) > shared and member[shared] == members[0][shared] for member in members):
            shared += 1
        parts.append(Sequence((*members[0][:shared], _factored(member[shared:] for member in members))))
    return parts[0] if len(parts) == 1 else Choice(tuple(parts))


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    starts = [0, *(last + 1 for _, last in ranges)]
    ends = [*(first - 1 for first, _ in ranges), _LAST]
    return tuple((start, end) for start, end in zip(starts, ends, strict=True) if start <= end)


class _Automaton:
    """Glushkov's: a state for each position; `follow` are the positions that can come after one."""

    def __init__(self) -> None:
        self.characters: list[Chars] = []
        self.follow: list[set[int]] = []
        self._pairs = 0
        self._steps = 0
        self._repeated = 0

    def add(self, node: Node) -> tuple[list[int], list[int], bool]:
        """Add an expression: the positions that it begins and ends with, and whether it can be empty."""
        match node:
            case Chars():
                self.characters.append(node)
                self.follow.append(set())
                position = [len(self.characters) - 1]
                return position, position, False
            case Sequence(parts):
                return self._sequence(parts)
            case Choice(branches):
                added = [self.add(branch) for branch in branches]
                firsts = [position for first, _, _ in added for position in first]
                lasts = [position for _, last, _ in added for position in last]
                if sum(empty for _, _, empty in added) > 1:
                    raise ValueError("can be empty in several ways")
                return firsts, lasts, any(empty for _, _, empty in added)
            case Repeat(part, least, most):
                return self._repeat(part, least, most)

    def _sequence(self, parts: Iterable[Node]) -> tuple[list[int], list[int], bool]:
        firsts: list[int] = []
        lasts: list[int] = []
        empty = True
        for part in parts:
            first, last, part_empty = self.add(part)
            self._connect(lasts, first)
            firsts += first if empty else []
            lasts = [*lasts, *last] if part_empty else last
            empty = empty and part_empty
        return firsts, lasts, empty

    def _repeat(self, part: Node, least: int, most: int | None) -> tuple[list[int], list[int], bool]:
        """Copies of the part, of which all after the `least` may be missing together with those after them."""
        firsts: list[int] = []
        lasts: list[int] = []
        before: list[int] = []
        empty = False
        if most == 1:
            first, last, empty = self.add(part)
            return first, last, empty or least == 0
        if self._repeated and (most or least > 1) and any(_weight(one) > 1 for one in _characters(part)):
            # `(..)*` compiles at once, and `(.{2})*` never.
            raise ValueError("counts a part of many characters within a part that is repeated itself")
        self._repeated += 1
        for copy in range(max(least, 1) if most is None else most):
            first, last, empty = self.add(part)
            if empty:
                raise ValueError("repeats a part that can be empty")
            self._connect(before, first)
            firsts = firsts or first
            lasts = [*lasts, *last] if copy >= least else last
            before = last
        if most is None:
            self._connect(before, first)
        self._repeated -= 1
        return firsts, lasts, least == 0

    def _connect(self, before: list[int], after: list[int]) -> None:
        self._pairs += len(before) * len(after)
        if self._pairs > _MAX_PAIRS:
            raise ValueError("has too many ways from one part to the next")
        for position in before:
            if not self.follow[position].isdisjoint(after):
                raise ValueError("repeats one part in several ways, as '(a+)+' does")
            self.follow[position].update(after)

    def check_readings(self, first: list[int]) -> None:
        """Raise `ValueError` where one text can reach more than `MAX_AT_ONCE` positions."""
        start = frozenset(first)
        seen: set[frozenset[int]] = set()
        waiting = [start]
        while waiting:
            for reached in self._reached(waiting.pop()):
                if len(reached) > MAX_AT_ONCE:
                    raise ValueError(
                        "can read one text in too many ways: parts that follow each other match the same characters"
                    )
                if reached in seen:
                    continue
                seen.add(reached)
                waiting.append(frozenset().union(*(self.follow[position] for position in reached)))

    def _reached(self, positions: frozenset[int]) -> set[frozenset[int]]:
        """The sets of positions that some character leads to, of those that may come next."""
        edges: list[tuple[int, int, int]] = []
        for position in positions:
            for start, end in self.characters[position].ranges:
                edges += ((start, 1, position), (end + 1, 0, position))
        self._steps += len(edges) + 1
        if self._steps > _MAX_STEPS:
            raise ValueError("has too many readings")
        reached: set[frozenset[int]] = set()
        active: set[int] = set()
        at = -1
        for code, opens, position in sorted(edges):
            if code != at and active:
                reached.add(frozenset(active))
            at = code
            active.add(position) if opens else active.discard(position)
            if len(active) > MAX_AT_ONCE:
                reached.add(frozenset(active))
        return reached
