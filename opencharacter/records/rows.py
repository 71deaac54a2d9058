"""Rows of users' data sets, good and bad."""

import json
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

_EXCERPT = 2_000


class RawRow(NamedTuple):
    """A row as it is in its file: a JSON value, or a line of plain text."""

    file: str
    line: int
    value: Any

    def bad(self, reason: str) -> "BadRow":
        """This row as a bad one."""
        text = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False, default=str)
        return BadRow(file=self.file, line=self.line, reason=reason, excerpt=text[:_EXCERPT])


class BadRow(BaseModel):
    """A row that could not be read; a line of the quarantine file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    line: int = Field(description="line of the file, from 1; row number in a Parquet file")
    reason: str = Field(description="what is wrong; equal faults have equal texts")
    excerpt: str = Field(description="the row's first characters")


class InvalidRow(ValueError):
    """A row does not fit its format; the message is the reason."""
