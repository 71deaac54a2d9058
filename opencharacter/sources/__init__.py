"""Users' own data: where it is fetched from, and where rows go that cannot be used."""

from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine

__all__ = ["Quarantine", "fetch", "input_digest", "source_name"]
