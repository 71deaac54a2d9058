"""Users' own data: fetching inputs, and the quarantine of bad rows."""

from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine

__all__ = ["Quarantine", "fetch", "input_digest", "source_name"]
