"""The rows that the steps pass to each other, and the reading of users' personas and sessions."""

from opencharacter.records.file_formats import RawRows, SourceFile
from opencharacter.records.formats import FORMATS
from opencharacter.records.models import (
    HELD_OUT_CELLS,
    Cell,
    DialogueRow,
    Persona,
    Session,
    TrainingRow,
    Turn,
    Usage,
)
from opencharacter.records.personas import PersonaReader, read_personas
from opencharacter.records.rows import BadRow, RawRow
from opencharacter.records.sessions import SessionReader, read_sessions

__all__ = [
    "FORMATS",
    "HELD_OUT_CELLS",
    "BadRow",
    "Cell",
    "DialogueRow",
    "Persona",
    "PersonaReader",
    "RawRow",
    "RawRows",
    "Session",
    "SessionReader",
    "SourceFile",
    "TrainingRow",
    "Turn",
    "Usage",
    "read_personas",
    "read_sessions",
]
