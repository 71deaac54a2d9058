"""What of a character the system message of a row holds (docs/design.md, decision 6)."""

from collections.abc import Mapping
from typing import get_args

from opencharacter.characters import PromptView
from opencharacter.hashing import fraction


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
