"""PersonaGym's own scoring, as the public code does it (`evaluation/personagym/faithful.py`)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opencharacter.characters import CharacterProfile, render_profile
from opencharacter.engines import ChatReply, Sampling
from opencharacter.errors import UserError
from opencharacter.evaluation.measures.protocol import (
    Asking,
    JudgeCall,
    MeasureBase,
    Measured,
    Work,
    ask,
    row_identity,
    user_message,
)
from opencharacter.evaluation.personagym.faithful import (
    PLACEHOLDERS,
    RUBRIC_PLACEHOLDERS,
    Answered,
    Prompts,
    batch_mean,
    placeholder_fault,
    published_scores,
    read_examples,
    read_scores,
)
from opencharacter.evaluation.suite_config import PersonagymMeasure as PersonagymSettings
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, PublishedScore, ScoreRow
from opencharacter.templates import Template


class _Batch(NamedTuple):
    """Answers of one model to questions of one persona and task, which are judged in one call."""

    task: str
    persona: str
    answers: Sequence[AnswerRow]
    items: Sequence[Item]


class PersonagymMeasure(MeasureBase[PersonagymSettings]):
    """One row a batch and judge, under the id of the batch's first question.

    The score is the batch's mean; a reply without a score is 0, as in the published tables.
    """

    def files(self) -> dict[str, str]:
        """See `MeasureBase.files`."""
        names = {key: getattr(self.settings, key) for key in PLACEHOLDERS}
        return names | {f"rubrics.{task}": file for task, file in self.settings.rubrics.items()}

    def check(self, templates: Mapping[str, Template], where: str) -> None:
        """See `MeasureBase.check`."""
        for key, file in self.files().items():
            if fault := placeholder_fault(templates[file].text, PLACEHOLDERS.get(key, RUBRIC_PLACEHOLDERS)):
                raise UserError(f"{where}.{key}: {templates[file].name}: {fault}")

    def takes(self, item: Item) -> bool:
        """See `MeasureBase.takes`."""
        return super().takes(item) and item.task in self.settings.rubrics and item.character_id is not None

    def judges(self) -> list[str]:
        """See `MeasureBase.judges`."""
        return [self.settings.examples_by] if self.settings.examples_by else []

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask for the example answers of each question, then each judge about each batch."""
        prompts = Prompts.read(work.suite.templates, self.settings)
        batches = self._batches(work)
        shown = yield from self._examples(work, prompts, batches)
        judged = [(judge, batch) for judge in work.judges for batch in batches]
        whole = [(judge, batch) for judge, batch in judged if _fault(batch, shown) is None]
        calls = [
            JudgeCall(
                judge,
                [
                    {"role": "system", "content": prompts.judge_system},
                    *user_message(prompts.ask_judge(batch.task, batch.persona, _answered(batch, shown))),
                ],
                self._sampling,
                seed64(work.seed, "judge"),
                read=_read_text,
            )
            for judge, batch in whole
        ]
        replies = iter((yield from ask(calls)))
        found = Measured()
        for judge, batch in judged:
            content = {"status": "engine_failure", "note": fault} if (fault := _fault(batch, shown)) else next(replies)
            self._score(work, found, judge.identity, batch, content)
        return found

    def published(self, rows: Sequence[ScoreRow]) -> dict[str, PublishedScore]:
        """See `MeasureBase.published`."""
        return published_scores(rows)

    @property
    def _sampling(self) -> Sampling:
        # The public code sends a top_p of 0, which vLLM refuses; at temperature 0 neither decides anything.
        return Sampling(temperature=0.0, top_p=1e-6, max_tokens=self.settings.max_tokens)

    def _batches(self, work: Work) -> list[_Batch]:
        groups: dict[tuple[Any, ...], list[AnswerRow]] = defaultdict(list)
        for answer in work.answers:
            item = work.item_of(answer)
            groups[answer.model, answer.repeat, item.character_id, item.task].append(answer)
        size = self.settings.batch
        return [
            _Batch(
                task, _description(work.characters[character]), answers, [work.item_of(answer) for answer in answers]
            )
            for (_, _, character, task), group in groups.items()
            for answers in (group[start : start + size] for start in range(0, len(group), size))
        ]

    def _examples(
        self, work: Work, prompts: Prompts, batches: Sequence[_Batch]
    ) -> Asking[dict[tuple[str, str, str], str]]:
        """The example answers as the judge is shown them; none for those that could not be fetched."""
        writer = work.judge(self.settings.examples_by) if self.settings.examples_by else work.judges[0]
        questions = list(dict.fromkeys(_key(batch, item) for batch in batches for item in batch.items))
        contents = yield from ask(
            [
                JudgeCall(
                    writer,
                    user_message(prompts.ask_examples(*key)),
                    self._sampling,
                    seed64(work.seed, "examples"),
                    read=_read_text,
                )
                for key in questions
            ]
        )
        return {
            key: read_examples(content["text"])
            for key, content in zip(questions, contents, strict=True)
            if content["status"] == "ok"
        }

    def _score(self, work: Work, found: Measured, judge: str, batch: _Batch, content: Mapping[str, Any]) -> None:
        first = batch.answers[0]
        ok = content["status"] == "ok"
        scores = read_scores(content["text"]) if ok else []
        questions = "1 question" if len(batch.items) == 1 else f"{len(batch.items)} questions from this one on"
        found.scores.append(
            ScoreRow(
                **row_identity(work.suite, batch.items[0]),
                model=first.model,
                repeat=first.repeat,
                metric=batch.task,
                judge=judge,
                status=content["status"],
                score=batch_mean(scores) if ok else None,
                note=f"{questions}; read: {', '.join(map(str, scores)) or 'nothing'}" if ok else content.get("note"),
            )
        )
        found.judgements.append(
            Judgement(
                suite=work.suite.name,
                question_id=batch.items[0].id,
                metric=batch.task,
                model=first.model,
                repeat=first.repeat,
                judge=judge,
                rubric_hash=work.suite.templates[self.settings.rubrics[batch.task]].hash,
                status=content["status"],
                score=batch_mean(scores) if ok else None,
                reply=content.get("text") if ok else content.get("note"),
            )
        )


def _key(batch: _Batch, item: Item) -> tuple[str, str, str]:
    return batch.task, batch.persona, item.turns[-1].content


def _fault(batch: _Batch, shown: Mapping[tuple[str, str, str], str]) -> str | None:
    """Why a batch cannot be judged now; a later run asks again."""
    for item, answer in zip(batch.items, batch.answers, strict=True):
        if answer.status == "engine_failure":
            return answer.note or "an answer could not be fetched"
        if _key(batch, item) not in shown:
            return "the example answers could not be fetched"
    return None


def _answered(batch: _Batch, shown: Mapping[tuple[str, str, str], str]) -> list[Answered]:
    return [
        Answered(item.turns[-1].content, answer.answer or "", shown[_key(batch, item)])
        for item, answer in zip(batch.items, batch.answers, strict=True)
    ]


def _description(character: CharacterProfile) -> str:
    """The persona; a suite of one's own may have characters without one."""
    return character.persona or render_profile(character)


def _read_text(reply: ChatReply) -> dict[str, Any]:
    """Whatever was said: where nothing can be read in it, the score is 0."""
    return {"status": "ok", "text": reply.text}
