"""What people are shown when they label, and what they have said so far."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from opencharacter.characters import CharacterProfile, render_profile
from opencharacter.errors import UserError
from opencharacter.evaluation.judges.agreement import Agreement, agreement
from opencharacter.evaluation.judges.labels import Label, LabelKey, append_label, label_ratings, read_labels
from opencharacter.evaluation.judges.sampling import spread
from opencharacter.evaluation.judges.scoring import OVERALL
from opencharacter.evaluation.preferences import PREFERENCE
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow
from opencharacter.records.models import Turn

_PREFERENCES = {"1": (1.0, "Answer 1 is better"), "2": (0.0, "Answer 2 is better"), "0": (0.5, "Neither is better")}
_RATINGS = {
    "1": (1.0, "Not this character at all"),
    "2": (2.0, "Hardly"),
    "3": (3.0, "Any person might say so"),
    "4": (4.0, "Mostly"),
    "5": (5.0, "Unmistakably this character"),
}


@dataclass(frozen=True)
class LabelTask:
    """One answer, or two, to be labelled."""

    key: LabelKey
    character: CharacterProfile | None
    conversation: Sequence[Turn]
    answers: tuple[str, ...]
    """One, or those of `model` and `rival` in that order."""

    @property
    def cluster(self) -> str:
        """The character, over whom a sample is spread."""
        return self.character.id if self.character else ""


def label_tasks(answers: Iterable[AnswerRow], characters: Mapping[str, CharacterProfile]) -> list[LabelTask]:
    """Every two models' different answers to an item; of one model's answers each is a task.

    Raises `UserError` if there is no answer.
    """
    rows = [row for row in answers if row.answer is not None]
    if not rows:
        raise UserError("there is no answer to label", hint="evaluate a suite whose models answer: evaluate run")
    if len({row.model for row in rows}) == 1:
        return rating_tasks(rows, characters)
    groups: dict[tuple[str, int], dict[str, AnswerRow]] = {}
    for row in rows:
        groups.setdefault((row.question_id, row.repeat), {})[row.model] = row
    return [
        _task((group[one], group[other]), characters)
        for _, group in sorted(groups.items())
        for one, other in combinations(sorted(group), 2)
        if group[one].answer != group[other].answer
    ]


def rating_tasks(answers: Iterable[AnswerRow], characters: Mapping[str, CharacterProfile]) -> list[LabelTask]:
    """Each answer by itself."""
    return [_task((row,), characters) for row in answers if row.answer is not None]


def _task(rows: tuple[AnswerRow, ...], characters: Mapping[str, CharacterProfile]) -> LabelTask:
    first, *others = rows
    rival = others[0].model if others else None
    key = LabelKey(first.suite, first.question_id, first.repeat, PREFERENCE if rival else OVERALL, first.model, rival)
    character = characters.get(first.character_id) if first.character_id else None
    return LabelTask(key, character, first.conversation, tuple(row.answer or "" for row in rows))


def choose_tasks(tasks: Iterable[LabelTask], count: int, seed: int) -> list[LabelTask]:
    """A seeded sample, spread over characters: so many pairs of answers, or items whose answers are all rated."""
    together: dict[tuple[object, ...], list[LabelTask]] = {}
    for task in tasks:
        key = task.key
        together.setdefault((key.question_id, key.repeat, *(key[4:] if key.rival else ())), []).append(task)
    chosen = spread(
        together.values(),
        count,
        seed,
        name=lambda each: repr(each[0].key),
        group=lambda each: each[0].cluster,
    )
    shuffled = [sorted(each, key=lambda task: seed64(seed, "rate", *task.key)) for each in chosen]
    # The answers to one question are far apart.
    rounds = max(map(len, shuffled), default=0)
    return [each[place] for place in range(rounds) for each in shuffled if place < len(each)]


class Labelling:
    """The tasks of a label file. Raters are shown the same tasks, each in an order of answers of their own."""

    def __init__(self, tasks: Sequence[LabelTask], path: Path) -> None:
        """Continue the file if it exists. Raises `UserError` if it holds labels of something else."""
        self._tasks = tasks
        self._path = path
        self._lock = threading.Lock()
        self._places = {task.key: place for place, task in enumerate(tasks)}
        labels = read_labels(path, self._places) if path.exists() and path.stat().st_size else []
        self._labels = {(label.rater, self._places[label.key]): label for label in labels}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def done(self) -> dict[str, int]:
        """Labels by rater."""
        raters = [rater for rater, _ in self._labels]
        return {rater: raters.count(rater) for rater in sorted(set(raters))}

    def next_place(self, rater: str, after: int = -1) -> int | None:
        """The first task after a place that the rater has not labelled, from the start again if need be."""
        order = [*range(after + 1, len(self)), *range(after + 1)]
        return next((place for place in order if (rater, place) not in self._labels), None)

    def show(self, rater: str, place: int) -> dict[str, Any]:
        """What the page shows of a task: nothing that tells the models."""
        task = self._task(place)
        character = task.character
        texts = task.answers[::-1] if self._turned(rater, task) else task.answers
        choices = _PREFERENCES if task.key.rival else _RATINGS
        given = self._labels.get((rater, place))
        return {
            "place": place,
            "total": len(self),
            "done": self.done.get(rater, 0),
            "name": character.label if character else "",
            "character": "\n\n".join(part for part in (character.persona, render_profile(character)) if part)
            if character
            else "",
            "conversation": [turn.model_dump() for turn in task.conversation if turn.role != "system"],
            "answers": list(texts),
            "choices": [{"key": key, "label": label} for key, (_, label) in choices.items()],
            "given": self._choice(rater, task, given) if given else None,
        }

    def add(self, rater: str, place: int, choice: str) -> None:
        """Write a label. Raises `UserError` for a place or choice that there is not, or a rater without a name."""
        task = self._task(place)
        choices = _PREFERENCES if task.key.rival else _RATINGS
        if choice not in choices:
            raise UserError(f"choice: expected {', '.join(choices)}, got {choice!r}")
        if not rater.strip():
            raise UserError("rater: expected a name")
        score = choices[choice][0]
        if self._turned(rater, task):
            score = 1 - score
        label = Label(**task.key._asdict(), score=score, rater=rater)
        with self._lock:
            append_label(self._path, label)
            self._labels[rater, place] = label

    def agreement(self) -> list[Agreement]:
        """How far the raters agree."""
        clusters = {task.key.question_id: task.cluster for task in self._tasks}
        return agreement(label_ratings(list(self._labels.values()), clusters))

    def _task(self, place: int) -> LabelTask:
        if not 0 <= place < len(self):
            raise UserError(f"place: expected 0 to {len(self) - 1}, got {place}")
        return self._tasks[place]

    def _turned(self, rater: str, task: LabelTask) -> bool:
        return task.key.rival is not None and seed64("order", rater, *task.key[:2], *task.key[4:]) % 2 == 1

    def _choice(self, rater: str, task: LabelTask, label: Label) -> str:
        choices = _PREFERENCES if task.key.rival else _RATINGS
        score = 1 - label.score if self._turned(rater, task) else label.score
        return next((key for key, (value, _) in choices.items() if value == score), "")
