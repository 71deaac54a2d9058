"""Reading JSON value by value, so that a large file needs little memory: an array, or objects over several lines."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from opencharacter.errors import UserError

_CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\r\n]*")
# A token this close to the end of the text read so far may continue in the next chunk.
_MARGIN = 16


def refuse_constant(name: str) -> NoReturn:
    """For `json`'s `parse_constant`: NaN and infinities are not JSON."""
    raise ValueError(f"{name} is not JSON")


class JsonReader:
    """The rows of the JSON text in `stream`, each with its line number.

    Raises `UserError` naming file and line where the text is not JSON.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._text = ""
        self._position = 0
        self._line = 1
        self._ended = False
        self._what = "valid JSON"
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant)

    def array(self) -> Iterator[tuple[int, Any]]:
        """The elements of an array."""
        self._what = "a valid JSON array"
        yield from self._elements()
        if self._peek():
            self._fail("more text after the end of the array", self._position)

    def objects(self, *, wraps: Callable[[set[str], str, Any], bool]) -> Iterator[tuple[int, Any]]:
        """Objects one after the other, each over as many lines as it takes; or the rows that the first one wraps.

        `wraps` says whether a list holds the file's rows: by the names before it, its own name and its first element.
        """
        self._what = "valid JSON"
        self._peek()
        line = self._line
        members: dict[str, Any] = {}
        self._expect("{")
        wrapper = ""
        while self._peek() != "}":
            if members:
                self._expect(",")
                self._peek()
            name = self._name_of_member()
            if self._peek() != "[":
                members[name] = self._element()[1]
                continue
            elements = self._elements()
            first = next(elements, None)
            if first is not None and wraps(set(members), name, first[1]):
                if wrapper:
                    self._fail(f"'{wrapper}' and '{name}' are both lists of rows; expected one", self._position)
                wrapper = name
                yield first
                yield from elements
                members[name] = []
            else:
                members[name] = [] if first is None else [first[1], *(value for _, value in elements)]
        self._expect("}")
        if not wrapper:
            yield line, members
        while mark := self._peek():
            if wrapper or mark != "{":
                self._fail("more text after the end of the object", self._position)
            yield self._element()

    def _name_of_member(self) -> str:
        if self._peek() != '"':
            self._fail("expected a name in quotation marks", self._position)
        name = str(self._element()[1])
        self._expect(":")
        return name

    def _elements(self) -> Iterator[tuple[int, Any]]:
        self._expect("[")
        if self._peek() != "]":
            yield self._element()
            while self._peek() == ",":
                self._skip(self._position + 1)
                yield self._element()
        self._expect("]")

    def _element(self) -> tuple[int, Any]:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _MARGIN
                if self._ended or not cut_off:
                    self._fail(error.msg, error.pos)
            except (ValueError, RecursionError) as error:
                self._fail(str(error), self._position)
            else:
                # A number may continue in the next chunk.
                if end + _MARGIN < len(self._text) or self._ended:
                    line = self._line
                    self._skip(end)
                    return line, value
            self._read_more()

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            self._skip(match.end() if match else self._position)
            if self._position < len(self._text) or self._ended:
                return self._text[self._position : self._position + 1]
            self._read_more()

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            self._fail(
                f"expected '{mark}'" if self._position < len(self._text) else "the file ends early", self._position
            )
        self._skip(self._position + 1)

    def _skip(self, position: int) -> None:
        self._line += self._text.count("\n", self._position, position)
        self._position = position

    def _read_more(self) -> None:
        rest = self._text[self._position :]
        # Doubling keeps the cost of decoding a long element repeatedly proportional to its length.
        more = self._stream.read(max(_CHUNK, len(rest)))
        self._ended = not more
        self._text, self._position = rest + more, 0

    def _fail(self, problem: str, position: int) -> NoReturn:
        line = self._line + self._text.count("\n", self._position, position)
        raise UserError(
            f"{self._name}:{line}: not {self._what}: {problem}",
            hint="correct the file, or give one JSON object a line",
        )
