"""What a checked request becomes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One call of the model server, ready to be sent."""

    path: str
    """Of the model server, such as `/v1/chat/completions`."""
    body: bytes
    """JSON for the model server."""
    stream: bool
    model: str
    """The name that the model server knows."""
    character_id: str | None = None
    """Id or name, for logs and metrics; never text of a profile."""
    dropped: tuple[str, ...] = ()
    """Fields that were left out, for the header `X-Dropped-Fields`."""
    choices: int = 1
    max_tokens: int | None = None
    """Of one choice, where the request says so."""
    kept: tuple[str, ...] = ()
    """Of a JSON answer that is not passed on whole, the keys that are."""
    usage_wanted: bool = False
    """The client itself asked for the usage of its stream."""
