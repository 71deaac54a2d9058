"""The server-sent events of a streamed answer, passed on by bytes."""

import json
import re

_USAGE = b'"usage"'
"""A text cannot hold these bytes: inside a JSON string its quotes are escaped."""
_ERROR = b'data: {"error"'
_END = re.compile(rb"\r?\n\r?\n")
_DONE = b"[DONE]"


class EventRelay:
    """Whole events only, unread but for the one with the usage of tokens, which goes on where it was asked for."""

    __slots__ = ("_last", "_pending", "_usage_wanted", "completion_tokens", "count", "failed", "prompt_tokens")

    def __init__(self, *, usage_wanted: bool) -> None:
        self._usage_wanted = usage_wanted
        self._pending = b""
        self._last = b""
        self.count = 0
        """Events passed on; about one for each token."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.failed = False
        """The model server itself put an error into its stream."""

    @property
    def done(self) -> bool:
        """Whether the stream has come to its end, `[DONE]`."""
        return self._last.rstrip().endswith(_DONE)

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream can be passed on, now that `chunk` has come; may be empty."""
        if self._pending:
            chunk = self._pending + chunk
            self._pending = b""
        if not chunk.endswith(b"\n\n"):
            end = max(chunk.rfind(b"\n\n") + 2, chunk.rfind(b"\r\n\r\n") + 4)
            if end < 4:  # neither was found
                self._pending = chunk
                return b""
            self._pending = chunk[end:]
            chunk = chunk[:end]
        if _USAGE in chunk:
            chunk = self._read_usage(chunk)
            if not chunk:
                return b""
        if _ERROR in chunk:
            self.failed = True
        self.count += chunk.count(b"\ndata:") + 1
        self._last = chunk
        return chunk

    def _read_usage(self, chunk: bytes) -> bytes:
        kept, start = [], 0
        for match in _END.finditer(chunk):
            event = chunk[start : match.end()]
            start = match.end()
            if _USAGE not in event or not self._is_bare_usage(event) or self._usage_wanted:
                kept.append(event)
        return b"".join(kept)

    def _is_bare_usage(self, event: bytes) -> bool:
        """Note the usage that an event tells; whether it tells nothing else."""
        try:
            told = json.loads(event.partition(b"data:")[2])
        except ValueError:
            return False
        usage = told.get("usage") if isinstance(told, dict) else None
        if not isinstance(usage, dict):
            return False
        self.prompt_tokens, self.completion_tokens = tokens_of(usage)
        return not told.get("choices")


def tokens_of(usage: object) -> tuple[int, int]:
    """The prompt's and the answer's tokens, as OpenAI's field `usage` tells them; zeros where it does not."""
    if not isinstance(usage, dict):
        return 0, 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return prompt if isinstance(prompt, int) else 0, completion if isinstance(completion, int) else 0
