"""What a file is, by its first bytes: one look for every reader. What cannot be read is refused by its own name."""

import codecs
import csv
import json
import re
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from opencharacter.errors import UserError
from opencharacter.records.json_values import refuse_constant

Container = Literal["JSON Lines", "JSON array", "JSON", "text", "CSV", "Parquet", "Arrow file", "Arrow stream"]

HEAD = 1 << 16
"""First bytes that a look needs."""

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_LINE_SUFFIXES = (".jsonl", ".ndjson")
_COLUMN_SUFFIXES = (".parquet", ".arrow")
_TABLE_SUFFIXES = (".csv", ".tsv")

ROW_KEYS = frozenset(
    {
        "persona", "instruction", "output", "instances", "conversations", "messages", "history", "synthesized text",
        "input persona", "prompt", "completion", "chosen", "rejected", "tools", "character", "character_id", "question",
    }
)  # fmt: skip
"""Keys that a row may have. A JSON object with one of them is a row, not a wrapper of rows."""
# Columns that make a first line the header of a table whatever the file is called.
_HEADER_KEYS = ROW_KEYS | {"input", "system"}

_UNPACK = "unpack it and name the file or folder inside"
_SAVE_AS = "save it as JSON Lines, CSV (UTF-8) or Parquet"
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"SQLite format 3\0", "an SQLite database", f"export the table: {_SAVE_AS}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)", _SAVE_AS),
    (b"%PDF-", "a PDF document", _SAVE_AS),
    (b"{\\rtf", "an RTF document", "save it as plain text (UTF-8)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x1f\x8b", "gzip inside another compression", "decompress it once"),
    (b"\x28\xb5\x2f\xfd", "Zstandard inside another compression", "decompress it once"),
    (b"BZh", "bzip2 inside another compression", "decompress it once"),
    (b"\xfd7zXZ\0", "xz inside another compression", "decompress it once"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", "decompress it, or compress with gzip or zstd"),
    (b"\x89PNG", "a PNG image", _SAVE_AS),
    (b"\xff\xd8\xff", "a JPEG image", _SAVE_AS),
    (b"\x93NUMPY", "a NumPy file", _SAVE_AS),
    (b"\x89HDF", "an HDF5 file", _SAVE_AS),
    (b"Obj\x01", "an Avro file", _SAVE_AS),
    (b"ORC", "an ORC file", _SAVE_AS),
    (b"FEA1", "an old Feather file", _SAVE_AS),
    (b"GGUF", "a GGUF model", "name the data, not a model"),
    (b"\x80\x02", "a Python pickle", _SAVE_AS),
    (b"\x80\x03", "a Python pickle", _SAVE_AS),
    (b"\x80\x04", "a Python pickle", _SAVE_AS),
    (b"\x80\x05", "a Python pickle", _SAVE_AS),
)
_POINTER = re.compile(rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/", re.ASCII)
_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git)?/annex/objects/", re.ASCII)
_HTML = re.compile(rb"<(?:!doctype\s|!--|html|head|body|meta|title|script|style|div|\?xml|error>)", re.IGNORECASE)
_JSON_START = re.compile(r"\s*(?:\{|\[\s*(?:[{\[\"\]\d-]|true|false|null|$))")
_ARRAY_OF_ROWS = re.compile(r"\s*\[(?:\s*\{|\s*\]\s*$|[ \t]*\r?\n)")
_BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Identity(NamedTuple):
    """What a file is."""

    container: Container
    encoding: str
    bom: int
    """Bytes of the byte order mark."""


def bare_suffix(name: str) -> str:
    """The ending of a file's name without that of its compression, in lower case."""
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def pointer_fault(head: bytes) -> str | None:
    """What a file is that stands for another: a Git LFS or git-annex pointer. None for a file of its own."""
    if _POINTER.match(head):
        return "a Git LFS pointer, not the file itself"
    return "a git-annex pointer, not the file itself" if _ANNEX.match(head) else None


POINTER_HINT = "fetch the file: git lfs pull (git-annex: git annex get), or download it from the hub"


def identify(head: bytes, name: str, *, text: bool | None = None) -> Identity:
    """What the file `name` is that starts with `head` (its first `HEAD` bytes).

    `text` says whether it holds plain text lines; with `None` its content and name decide. Raises `UserError` for a
    file of a kind that cannot be read, which says what it is and what to do.
    """
    if fault := pointer_fault(head):
        raise UserError(f"{name}: {fault}", hint=POINTER_HINT)
    if head.startswith(b"PAR1"):
        return Identity("Parquet", "", 0)
    if head.startswith(b"ARROW1"):
        return Identity("Arrow file", "", 0)
    if head.startswith(b"\xff\xff\xff\xff") and len(head) > 8:
        return Identity("Arrow stream", "", 0)
    _refuse_binary(head, name)
    encoding, bom = _encoding(head)
    start = head[bom:].decode(encoding, errors="replace")
    if _HTML.match(start.lstrip()[:20].encode()):
        raise UserError(
            f"{name}: an HTML or XML page, not data: often a saved sign-in or error page",
            hint="download the data file itself (for a private one, signed in), and look at it before you name it here",
        )
    return Identity(_text_container(start, name, text, whole=len(head) < HEAD), encoding, bom)


def _refuse_binary(head: bytes, name: str) -> None:
    for magic, what, hint in _BINARY:
        if head.startswith(magic):
            if magic == b"PK\x03\x04" and (b"[Content_Types].xml" in head or b"xl/" in head):
                what, hint = "an Excel or other Office document", _SAVE_AS
            raise UserError(f"{name}: {what}, which is not read", hint=hint)
    if head[257:262] == b"ustar":
        raise UserError(f"{name}: a tar archive, which is not read", hint=_UNPACK)


def _encoding(head: bytes) -> tuple[str, int]:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding, len(mark)
    # Without a mark: every second byte of Latin text in UTF-16 is NUL.
    start = head[:256]
    if len(start) >= 4 and start[0::2].count(0) == 0 and start[1::2].count(0) > len(start) / 4:
        return "utf-16-le", 0
    if len(start) >= 4 and start[1::2].count(0) == 0 and start[0::2].count(0) > len(start) / 4:
        return "utf-16-be", 0
    return "utf-8", 0


def _text_container(start: str, name: str, text: bool | None, *, whole: bool) -> Container:
    suffix, first = bare_suffix(name), start.lstrip(" \t\r\n")[:1]
    if text:
        return "text"
    is_json = _JSON_START.match(start) is not None
    if not is_json and (suffix in _TABLE_SUFFIXES or (suffix not in _JSON_SUFFIXES and is_header(start))):
        return "CSV"
    if not is_json and suffix in _COLUMN_SUFFIXES:
        raise UserError(
            f"{name}: not {'a Parquet' if suffix == '.parquet' else 'an Arrow'} file",
            hint="it is damaged or has a wrong name: write or download it again",
        )
    if text is None and suffix not in _JSON_SUFFIXES and first and not is_json:
        return "text"
    if first == "[":
        # A line that holds an array is a bad row; an array of objects, or over several lines, is the whole file.
        return "JSON Lines" if suffix in _LINE_SUFFIXES and not _ARRAY_OF_ROWS.match(start) else "JSON array"
    return "JSON" if first == "{" and _is_one_value(start, whole=whole) else "JSON Lines"


def is_header(start: str) -> bool:
    """Whether a text starts with the header line of a table with columns that we know."""
    fields = header_fields(start)
    known = _HEADER_KEYS.intersection(fields)
    return bool(known) and (len(known) > 1 or fields == ["persona"] or (len(fields) > 1 and "persona" in known))


def header_fields(start: str, delimiter: str | None = None) -> list[str]:
    """The fields of the first line of a table."""
    header = (_lines(start) or [""])[0]
    try:
        return [field.strip() for field in next(csv.reader([header], delimiter=delimiter or delimiter_of(header)), [])]
    except csv.Error:
        return []


def delimiter_of(start: str) -> str:
    """What separates the fields of a table, by its first line."""
    header = (_lines(start) or [""])[0]
    return max(",\t;|", key=header.count)


def _is_one_value(start: str, *, whole: bool) -> bool:
    """Whether a text that starts with `{` is JSON over several lines, or one object alone; else an object is a line."""
    lines = _lines(start)
    first = lines[0].strip()
    complete = _is_complete(first)
    if complete:
        return whole and len(lines) == 1
    if len(lines) == 1:
        return _wraps(first)
    return first[-1] in "{[" or (_breaks_between_tokens(first) and not _is_complete(lines[1].strip()))


def _lines(text: str) -> list[str]:
    """The lines that are not blank. A JSON text may hold what `splitlines` takes for the end of a line."""
    return [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]


def _is_complete(line: str) -> bool:
    try:
        return isinstance(json.loads(line, parse_constant=refuse_constant), dict)
    except (ValueError, RecursionError):
        return False


def _breaks_between_tokens(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line) and not error.msg.startswith(("Unterminated", "Extra"))
    except RecursionError:
        pass
    return False


def _wraps(line: str) -> bool:
    match = re.match(r'\{\s*"([^"\\]*)"\s*:\s*\[\s*\{', line)
    return match is not None and match[1] not in ROW_KEYS


def is_turn(value: Any) -> bool:
    """Whether a value looks like a turn of a conversation."""
    return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())
