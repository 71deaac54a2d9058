"""The characters that a request may name by their id."""

from pathlib import Path

from opencharacter.characters.profile import CharacterProfile


class CharacterLibrary:
    """Profiles by id, from a folder; empty without one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def ids(self) -> list[str]:
        """The ids, sorted."""
        return []

    def get(self, character_id: str) -> CharacterProfile | None:
        """The profile of that id, where there is one."""
        return None
