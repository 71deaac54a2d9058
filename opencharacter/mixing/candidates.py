"""Which rows may enter the mixture at all: the filters that look at one row alone."""

from collections import Counter
from collections.abc import Container, Mapping

from pydantic import BaseModel, ConfigDict

from opencharacter.characters.profile import CharacterProfile
from opencharacter.hashing import digest, text_digest
from opencharacter.mixing import frozen
from opencharacter.mixing.licences import UNKNOWN, combine, permitted_use
from opencharacter.mixing.mix_config import GeneralSource, MixConfig
from opencharacter.mixing.split import session_key
from opencharacter.records.models import DialogueRow, Session, Strategy, Turn
from opencharacter.texts import text_fault


class Candidate(BaseModel):
    """A row on its way into the mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row_id: str
    character_id: str | None
    session_id: str
    session_key: str
    corpus: str
    strategy: Strategy
    turns: tuple[Turn, ...]
    source: str
    session_licence: str
    licence: str
    teacher: str | None
    refusal: str | None = None
    weight: float

    @property
    def group(self) -> str:
        """Hash of what its duplicates share: the character or, without one, the session."""
        return text_digest(self.character_id or f"session {self.session_key}")[:32]


class CandidateFilter:
    """Turns input rows into candidates; `dropped` counts those that it turns away, by reason."""

    def __init__(
        self,
        config: MixConfig,
        characters: Mapping[str, CharacterProfile],
        duplicates: Container[str],
        dropped: Counter[str],
        frozen_texts: frozen.FrozenTexts,
    ) -> None:
        """`characters` are those kept, by id; `duplicates` those left out for a near-duplicate persona."""
        self._config = config
        self._characters = characters
        self._duplicate_personas = duplicates
        self._dropped = dropped
        self._frozen = frozen_texts
        self._frozen_characters = {
            name for name, character in characters.items() if frozen_texts.holds_character(character)
        }

    def dialogue(self, row: DialogueRow) -> Candidate | None:
        """The candidate of a dialogue: bound by its session's licence and by its character's."""
        weight = 1.0 if row.strategy == "general" else self._config.weights.get(row.strategy, 1.0)
        if weight == 0:
            return self._drop("weight_zero")
        if row.refusal == "in_character" and not self._config.in_character_refusals:
            return self._drop("in_character_refusal")
        if row.character_id in self._duplicate_personas:
            return self._drop("duplicate_persona")
        character = self._characters.get(row.character_id)
        if character is None:
            return self._drop("unknown_character")
        if row.character_id in self._frozen_characters:
            return self._drop(frozen.CHARACTER)
        provenance = character.provenance
        return self._admit(
            Candidate(
                row_id=row.row_id,
                character_id=row.character_id,
                session_id=row.session_id,
                session_key=session_key(row.turns),
                corpus=row.corpus,
                strategy=row.strategy,
                turns=row.turns,
                source=row.source,
                session_licence=row.licence,
                licence=combine(row.licence, provenance.licence if provenance else UNKNOWN),
                teacher=row.model,
                refusal=row.refusal,
                weight=weight,
            )
        )

    def general(self, session: Session, source: GeneralSource) -> Candidate | None:
        """The candidate of a general-instruction session, which must be answered."""
        if not session.has_answers:
            return self._drop("no_answer")
        return self._admit(
            Candidate(
                row_id=digest({"general": source.name, "session": session.id}),
                character_id=None,
                session_id=session.id,
                session_key=session_key(session.turns),
                corpus=source.name,
                strategy="general",
                turns=session.turns,
                source=session.source,
                session_licence=session.licence,
                licence=combine(session.licence),
                teacher=None,
                weight=source.weight,
            )
        )

    def _admit(self, candidate: Candidate) -> Candidate | None:
        if any(text_fault(turn.content) for turn in candidate.turns):
            return self._drop("empty_text")  # of an older version, or imported
        if self._frozen.holds_session(candidate.turns):
            return self._drop(frozen.SESSION)
        if self._config.commercial_only and (use := permitted_use(candidate.licence)) != "commercial":
            return self._drop(f"{use}_licence")
        return candidate

    def _drop(self, reason: str) -> Candidate | None:
        self._dropped[reason] += 1
        return None
