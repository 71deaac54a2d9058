"""The loss of an item's reference answer, and of the same under a wrong character's profile."""

from collections.abc import Iterator
from typing import Any

from opencharacter.evaluation.measures.protocol import Asking, LossCall, MeasureBase, Measured, Work, row_identity
from opencharacter.evaluation.subjects import Subject
from opencharacter.evaluation.suite_config import LikelihoodMeasure as LikelihoodSettings
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import LOSS, SWAP_GAP, Item, ScoreRow
from opencharacter.records.models import Turn


class LikelihoodMeasure(MeasureBase[LikelihoodSettings]):
    """Rows `loss` and, where somebody is played, `profile_swap_gap`. A model behind an endpoint has none."""

    needs_answers = False
    needs_judges = False

    def takes(self, item: Item) -> bool:
        """See `MeasureBase.takes`."""
        return super().takes(item) and item.reference is not None

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask for the losses of each model."""
        subjects = [subject for subject in work.subjects if subject.folder is not None]
        pairs = [(subject, item, *self._calls(work, subject, item)) for subject in subjects for item in work.items]
        calls = [call for *_, own, wrong in pairs for call in (own, wrong) if call is not None]
        found = (yield calls) if calls else []
        losses = iter(found)
        rows: list[ScoreRow] = []
        for subject, item, _, wrong in pairs:
            own_loss = next(losses)
            wrong_loss = next(losses) if wrong is not None else None
            rows += self._rows(work, subject, item, own_loss, wrong_loss)
        return Measured(rows)

    def _calls(self, work: Work, subject: Subject, item: Item) -> tuple[LossCall, LossCall | None]:
        own = work.characters[item.character_id] if item.character_id is not None else None
        system = work.system(subject, item, own)
        call = LossCall(subject, _conversation(system, item))
        other = _wrong_character(work, item)
        if not self.settings.swap_gap or system is None or other is None:
            return call, None
        return call, LossCall(subject, _conversation(work.system(subject, item, work.characters[other]), item))

    def _rows(
        self, work: Work, subject: Subject, item: Item, own: dict[str, Any], wrong: dict[str, Any] | None
    ) -> Iterator[ScoreRow]:
        common = row_identity(work.suite, item) | {"model": subject.identity}
        yield ScoreRow(metric=LOSS, status=own["status"], score=own["loss"], tokens=own["tokens"], **common)
        if not self.settings.swap_gap or item.character_id is None or item.view == "none":
            return
        if wrong is None:
            yield ScoreRow(metric=SWAP_GAP, status="no_other_character", **common)
            return
        gap = None if wrong["loss"] is None or own["loss"] is None else wrong["loss"] - own["loss"]
        status = wrong["status"] if own["status"] == "ok" else own["status"]
        yield ScoreRow(metric=SWAP_GAP, status=status, score=gap, tokens=own["tokens"], **common)


def _conversation(system: Turn | None, item: Item) -> tuple[Turn, ...]:
    answer = Turn(role="assistant", content=item.reference or "")
    return (*([system] if system else []), *item.turns, answer)


def _wrong_character(work: Work, item: Item) -> str | None:
    """The character that the item names; outside the split grid any other of the suite's, drawn by seed."""
    if item.wrong_character_id is not None or item.cell is not None or item.character_id is None:
        return item.wrong_character_id
    others = sorted(work.characters.keys() - {item.character_id})
    return others[seed64(work.seed, "swap", item.id) % len(others)] if others else None
