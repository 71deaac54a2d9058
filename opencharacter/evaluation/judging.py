"""Sample answers of each model, scored by a judge on the paper's five dimensions."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opencharacter.characters import render_profile
from opencharacter.engines import ChatFailed, ChatReply, EngineConfig
from opencharacter.evaluation.evaluation_config import Dimension, EvaluateConfig, JudgeConfig
from opencharacter.evaluation.questions import Question
from opencharacter.evaluation.scorers import EvalModel, ScorerResult, identity
from opencharacter.generation.judgements import JUDGEMENT_SCHEMA, ContentCall, make_calls, read_judgement
from opencharacter.generation.rows import StoredRow
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import ENGINE_FAILURE, AnswerRow, ScoreRow
from opencharacter.records.models import HELD_OUT_CELLS, Turn, Usage
from opencharacter.storage.rowstore import RowStore
from opencharacter.templates import load_template
from opencharacter.texts import is_blank

_SPEAKERS = {"user": "User", "assistant": "Character"}


class JudgeScorer:
    """Rows of the five dimensions, and the judged answers."""

    def __init__(self, config: EvaluateConfig, settings: JudgeConfig, judge: EngineConfig, seed: int) -> None:
        self._config = config
        self._settings = settings
        self._judge = judge
        self._seed = seed
        self._prompt = load_template("judge.md")
        self._aspects = {name: load_template(f"judge_{name}.md").text for name in settings.dimensions}

    async def score(
        self, questions: Sequence[Question], eval_models: Sequence[EvalModel], store: RowStore
    ) -> ScorerResult:
        """Ask every model the same questions of the held-out cells, and the judge about each answer.

        Raises `EngineDown` if a model or the judge can't be reached; what is finished is kept.
        """
        usage = Usage()
        chosen = self._choose(questions)
        for eval_model in eval_models:
            asked = [self._answer_call(eval_model, question) for question in chosen]
            usage += await _ask_all(
                f"answers of {eval_model.name}", self._engine_of(eval_model), asked, store, _read_answer
            )
        answered = [
            (question, self._answer_row(eval_model, question, store))
            for eval_model in eval_models
            for question in chosen
        ]
        judged = [
            self._judge_call(question, answer.answer, dimension)
            for question, answer in answered
            if answer.answer is not None
            for dimension in self._settings.dimensions
        ]
        usage += await _ask_all(f"judgements of {self._judge.model}", self._judge, judged, store, read_judgement)
        rows = [
            self._score_row(question, answer, dimension, store)
            for question, answer in answered
            for dimension in self._settings.dimensions
        ]
        return ScorerResult(rows, [answer for _, answer in answered], usage)

    def _choose(self, questions: Sequence[Question]) -> list[Question]:
        """The first questions of each held-out cell; a session and character in both R and G count once."""
        chosen: dict[tuple[str, ...], Question] = {}
        room = {str(cell): self._settings.questions_per_cell for cell in HELD_OUT_CELLS}
        for question in questions:
            row = question.row
            key = (row.session_id, row.character_id or "")
            if question.character is not None and key not in chosen and room.get(row.cell, 0) > 0:
                chosen[key] = question
                room[row.cell] -= 1
        return list(chosen.values())

    def _engine_of(self, eval_model: EvalModel) -> EngineConfig:
        if self._judge.weights == eval_model.reference:
            return self._judge  # one server less
        return EngineConfig(
            model=f"opencharacter-{eval_model.digest[:12]}",
            weights=str(eval_model.folder),
            concurrency=self._judge.concurrency,
            max_model_len=self._config.max_length + self._settings.answer_sampling.max_tokens,
        )

    def _answer_call(self, eval_model: EvalModel, question: Question) -> ContentCall:
        return ContentCall(
            model=eval_model.digest,
            messages=[turn.model_dump() for turn in question.conversation],
            sampling=self._settings.answer_sampling,
            seed=seed64(self._seed, "answer", question.row.row_id),
        )

    def _judge_call(self, question: Question, answer: str, dimension: Dimension) -> ContentCall:
        character = question.character
        assert character is not None
        prompt = self._prompt.render(
            character="\n\n".join(part for part in (character.persona, render_profile(character)) if part),
            conversation=_transcript(question.conversation),
            answer=answer,
            aspect=self._aspects[dimension].strip(),
        )
        return ContentCall(
            model=self._judge.identity,
            messages=[{"role": "user", "content": prompt}],
            sampling=self._settings.judge_sampling,
            seed=seed64(self._seed, "judge"),
            schema=JUDGEMENT_SCHEMA,
        )

    def _answer_row(self, eval_model: EvalModel, question: Question, store: RowStore) -> AnswerRow:
        content = store.read(self._answer_call(eval_model, question).row_id)
        return AnswerRow(
            **identity(question),
            model=eval_model.digest,
            status=content["status"],
            conversation=[turn for turn in question.conversation if turn.role != "system"],
            answer=content.get("answer"),
            finish_reason=content.get("finish_reason"),
        )

    def _score_row(self, question: Question, answer: AnswerRow, dimension: Dimension, store: RowStore) -> ScoreRow:
        if answer.answer is None:
            judgement: dict[str, Any] = {"status": "no_answer", "note": answer.status}
        else:
            judgement = store.read(self._judge_call(question, answer.answer, dimension).row_id)
        return ScoreRow(
            **identity(question), model=answer.model, metric=dimension, judge=self._judge.model, **judgement
        )


async def _ask_all(
    title: str,
    engine: EngineConfig,
    calls: Iterable[ContentCall],
    store: RowStore,
    read: Callable[[ChatReply], dict[str, Any]],
) -> Usage:
    # A penalty that only one of the models has by default would make the comparison unfair. Our own servers take this.
    extra = {"repetition_penalty": 1.0} if engine.base_url is None else None
    return await make_calls(calls, engine, store, read, what=title, on_failure=_failed, extra=extra)


def _failed(error: ChatFailed) -> StoredRow:
    return StoredRow({"status": ENGINE_FAILURE, "note": str(error)}, ENGINE_FAILURE)


def _transcript(conversation: Sequence[Turn]) -> str:
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in conversation if turn.role != "system")


def _read_answer(reply: ChatReply) -> dict[str, Any]:
    text = reply.text.strip()
    if is_blank(text) or reply.problem:
        return {"status": "empty_answer", "finish_reason": reply.finish_reason}
    return {"status": "ok", "answer": text, "finish_reason": reply.finish_reason}
