"""From a candidate to the rows that are written: its cell, its system message, its copies."""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from opencharacter.characters import PromptView, system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.hashing import digest, fraction
from opencharacter.mixing.after_profile import Kind, continue_prompt
from opencharacter.mixing.candidates import Candidate
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.mixing.split import Split
from opencharacter.records.models import TrainingRow, Turn
from opencharacter.templates import Template


def training_view(shares: Mapping[PromptView, float], row_id: str, *, seed: int) -> PromptView:
    """The view of a training row, drawn by the row's seeded hash."""
    views = _by_rank(shares)
    place = fraction(seed, "prompt view", row_id) * sum(shares.values())
    for view in views:
        place -= shares[view]
        if place < 0:
            return view
    return views[-1]


def held_out_view(shares: Mapping[PromptView, float]) -> PromptView:
    """The one view of all held-out rows, so that scores compare: the fullest that is trained on."""
    return _by_rank(shares)[0]


def _by_rank(shares: Mapping[PromptView, float]) -> list[PromptView]:
    # Never in the mapping's own order, which a KFP parameter doesn't keep.
    return [view for view in get_args(PromptView) if shares.get(view, 0) > 0]


class RowBuilder:
    """Places candidates in the split grid."""

    def __init__(
        self,
        config: MixConfig,
        split: Split,
        characters: Mapping[str, CharacterProfile],
        *,
        seed: int,
        template: Template,
    ) -> None:
        self._shares = config.prompt_views
        self._after_profile = config.after_profile
        self._split = split
        self._characters = characters
        self._seed = seed
        self._template = template

    def row(self, candidate: Candidate) -> TrainingRow:
        """The row in chat `messages` form, in its cell; general rows have no system message."""
        cell = self._split.of(candidate.character_id, candidate.session_key)
        row = TrainingRow(
            row_id=candidate.row_id,
            messages=list(candidate.turns),
            character_id=candidate.character_id,
            session_id=candidate.session_id,
            strategy=candidate.strategy,
            cell=cell,
            source=candidate.source,
            licence=candidate.licence,
            prompt_view="none",
        )
        if candidate.character_id is None:
            return row
        character = self._characters[candidate.character_id]
        train = cell == "train"
        view = training_view(self._shares, row.row_id, seed=self._seed) if train else held_out_view(self._shares)
        prompt = system_prompt(character, view, template=self._template)
        kind: Kind | Literal["none"] = "none"
        if train and fraction(self._seed, "after profile", row.row_id) < self._after_profile:
            kind, prompt = continue_prompt(prompt, character.label, row.row_id, seed=self._seed)
        system = Turn(role="system", content=prompt)
        return row.model_copy(update={"messages": [system, *row.messages], "prompt_view": view, "after_profile": kind})

    def copies(self, row: TrainingRow, weight: float) -> Iterator[TrainingRow]:
        """The row as often as its weight says, in training; once in the held-out cells.

        The whole part of the weight is copies, the rest is the chance, drawn by the row's seeded hash, of one more.
        The first copy keeps the row's id; the others have its number appended (`ID-2`).
        """
        drawn = int(weight) + (fraction(self._seed, "weight", row.row_id) < weight % 1)
        for number in range(1, (drawn if row.cell == "train" else 1) + 1):
            yield row if number == 1 else row.model_copy(update={"row_id": f"{row.row_id}-{number}"})

    def order(self, row: TrainingRow) -> str:
        """Key by which a cell's rows are sorted: a seeded shuffle."""
        return digest([self._seed, "order", row.row_id])
