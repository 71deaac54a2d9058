"""A judge scores each answer by a rubric of the item's task."""

from collections.abc import Mapping, Sequence
from functools import partial
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
    check_macros,
    is_judged,
    row_identity,
    unjudged,
    user_message,
)
from opencharacter.evaluation.suite_config import RubricMeasure as RubricSettings
from opencharacter.generation.errors import Unusable
from opencharacter.generation.judgements import judgement_reader, judgement_schema
from opencharacter.generation.replies import read_object
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, ScoreRow
from opencharacter.records.models import Turn
from opencharacter.templates import Template
from opencharacter.texts import is_blank

_PROMPT = "judge.md"
_SPEAKERS = {"user": "User", "assistant": "Character"}
_ABOUT_ITEM = {"character", "persona", "profile", "name", "conversation", "question", "task", "low", "high"}
_MACROS = {*_ABOUT_ITEM, "answer", "aspect", "examples"}


class _Ask(NamedTuple):
    """A question to a judge about an answer."""

    item: Item
    answer: AnswerRow
    task: str


class RubricMeasure(MeasureBase[RubricSettings]):
    """Rows of the tasks, one a judge.

    A rubric is what the judge's prompt holds at `{{aspect}}`; a rubric that holds `{{answer}}` itself is the whole
    prompt. `{{examples}}` is what a judge wrote for the item, once for all models.
    """

    def files(self) -> dict[str, str]:
        """See `MeasureBase.files`."""
        files = {f"tasks.{task}": file for task, file in self.settings.tasks.items()}
        files |= {"prompt": self.settings.prompt or _PROMPT}
        return files | ({"examples": self.settings.examples} if self.settings.examples else {})

    def check(self, templates: Mapping[str, Template], where: str) -> None:
        """See `MeasureBase.check`."""
        low, high = self.settings.scale
        if low >= high:
            raise UserError(f"{where}.scale: expected the lowest score, then the highest; got [{low}, {high}]")
        for key, file in self.files().items():
            known = _ABOUT_ITEM | {"aspect"} if key == "examples" else _MACROS
            check_macros(templates[file], known, f"{where}.{key}")
        prompt = templates[self.settings.prompt or _PROMPT]
        for task, file in self.settings.tasks.items():
            rubric = templates[file]
            if "answer" not in rubric.macros and not {"answer", "aspect"} <= prompt.macros:
                raise UserError(f"{where}.prompt: {prompt.name}: must hold {{{{answer}}}} and {{{{aspect}}}}")
            shown = rubric.macros if "answer" in rubric.macros else rubric.macros | prompt.macros
            if self.settings.examples and "examples" not in shown:
                raise UserError(
                    f"{where}.tasks.{task}: {rubric.name}: lacks its examples",
                    hint="put {{examples}} where they go, or delete the key `examples`",
                )
            if "examples" in shown and not self.settings.examples:
                raise UserError(
                    f"{where}.tasks.{task}: {rubric.name}: holds {{{{examples}}}}, and no text makes them",
                    hint="name the prompt that makes them in the key `examples`",
                )

    def takes(self, item: Item) -> bool:
        """See `MeasureBase.takes`."""
        return super().takes(item) and (not item.task or item.task in self.settings.tasks)

    def judges(self) -> list[str]:
        """See `MeasureBase.judges`."""
        return [self.settings.examples_by] if self.settings.examples_by else []

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask for examples, then each judge about each answer and task."""
        asks = [
            _Ask(item, answer, task)
            for answer in work.answers
            for item in (work.item_of(answer),)
            for task in ([item.task] if item.task else self.settings.tasks)
        ]
        judged = [(judge, each) for judge in work.judges for each in asks if is_judged(work, each.answer)]
        examples = yield from self._examples(work, [each for _, each in judged])
        calls = [self._call(work, judge, each, examples) for judge, each in judged]
        usable = [call for call in calls if call is not None]
        replies = iter((yield from ask(usable)))
        missing = {"status": "parse_failure", "note": "no examples could be made"}
        contents = {
            (judge.name, _key(each)): missing if call is None else next(replies)
            for (judge, each), call in zip(judged, calls, strict=True)
        }
        found = Measured()
        for judge in work.judges:
            for each in asks:
                content = contents.get((judge.name, _key(each)))
                found.scores.append(_score(work, each, judge.identity, content or unjudged(each.answer)))
                if content is not None:
                    found.judgements.append(self._judgement(work, each, judge.identity, content))
        return found

    def _examples(self, work: Work, asks: Sequence[_Ask]) -> Asking[dict[str, str]]:
        """The examples by the prompt that makes them."""
        if self.settings.examples is None or not asks:
            return {}
        writer = work.judge(self.settings.examples_by) if self.settings.examples_by else work.judges[0]
        prompts = list(dict.fromkeys(self._examples_prompt(work, each.item, each.task) for each in asks))
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=1024)
        low, high = self.settings.scale
        scores = range(low, high + 1)
        contents = yield from ask(
            [
                JudgeCall(
                    writer,
                    user_message(prompt),
                    sampling,
                    seed64(work.seed, "examples"),
                    schema=_examples_schema(scores),
                    read=partial(_read_examples, scores),
                )
                for prompt in prompts
            ]
        )
        return {
            prompt: content["text"]
            for prompt, content in zip(prompts, contents, strict=True)
            if content["status"] == "ok"
        }

    def _examples_prompt(self, work: Work, item: Item, task: str) -> str:
        assert self.settings.examples is not None
        aspect = work.suite.templates[self.settings.tasks[task]].text.strip()
        return work.suite.templates[self.settings.examples].render(
            **self._about(work, item, task, item.turns), aspect=aspect
        )

    def _call(self, work: Work, judge: Any, each: _Ask, examples: Mapping[str, str]) -> JudgeCall | None:
        shown = ""
        if self.settings.examples is not None:
            prompt = self._examples_prompt(work, each.item, each.task)
            if prompt not in examples:
                return None
            shown = examples[prompt]
        rubric = work.suite.templates[self.settings.tasks[each.task]]
        values = self._about(work, each.item, each.task, each.answer.conversation)
        values |= {"answer": each.answer.answer or "", "examples": shown}
        if "answer" in rubric.macros:
            text = rubric.render(**values, aspect="")
        else:
            aspect = rubric.render(**values, aspect="").strip()
            text = work.suite.templates[self.settings.prompt or _PROMPT].render(**values, aspect=aspect)
        return JudgeCall(
            judge,
            user_message(text),
            self.settings.sampling,
            seed64(work.seed, "judge"),
            schema=judgement_schema(*self.settings.scale),
            read=judgement_reader(*self.settings.scale),
        )

    def _about(self, work: Work, item: Item, task: str, conversation: Sequence[Turn]) -> dict[str, str]:
        character = work.characters[item.character_id] if item.character_id is not None else None
        low, high = self.settings.scale
        return describe(character) | {
            "conversation": transcript(conversation),
            "question": conversation[-1].content,
            "task": task,
            "low": str(low),
            "high": str(high),
        }

    def _judgement(self, work: Work, each: _Ask, judge: str, content: Mapping[str, Any]) -> Judgement:
        ok = content["status"] == "ok"
        return Judgement(
            suite=work.suite.name,
            question_id=each.item.id,
            metric=each.task,
            model=each.answer.model,
            repeat=each.answer.repeat,
            judge=judge,
            rubric_hash=work.suite.templates[self.settings.tasks[each.task]].hash,
            status=content["status"],
            score=content.get("score"),
            reason=content.get("note") if ok else None,
            reply=None if ok else content.get("note"),
        )


def describe(character: CharacterProfile | None) -> dict[str, str]:
    """What a prompt may hold of a character; empty texts without one."""
    if character is None:
        return {"character": "(no character: the model speaks as itself)", "persona": "", "profile": "", "name": ""}
    persona, profile = character.persona or "", render_profile(character)
    return {
        "character": "\n\n".join(part for part in (character.persona, profile) if part),
        "persona": persona or profile,
        "profile": profile or persona,
        "name": character.label,
    }


def transcript(conversation: Sequence[Turn]) -> str:
    """A conversation as a judge reads it."""
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in conversation if turn.role != "system")


def _key(each: _Ask) -> tuple[str, str, int, str]:
    return each.answer.model, each.item.id, each.answer.repeat, each.task


def _score(work: Work, each: _Ask, judge: str, content: Mapping[str, Any]) -> ScoreRow:
    return ScoreRow(
        **row_identity(work.suite, each.item),
        model=each.answer.model,
        repeat=each.answer.repeat,
        metric=each.task,
        judge=judge,
        status=content["status"],
        score=content.get("score"),
        note=content.get("note"),
    )


def _examples_schema(scores: range) -> dict[str, Any]:
    # A limit for the server only: a small model would else talk until its reply is cut off before the last score.
    properties = {f"score_{score}": {"type": "string", "maxLength": 400} for score in scores}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _read_examples(scores: range, reply: ChatReply) -> dict[str, Any]:
    """An answer for each score, as the judge is shown them."""
    try:
        found = read_object(reply.text)
    except Unusable as error:
        return {"status": "parse_failure", "note": reply.detail or error.reason}
    texts = {score: found.get(f"score_{score}") for score in scores}
    if missing := [score for score, text in texts.items() if not isinstance(text, str) or is_blank(text)]:
        return {"status": "parse_failure", "note": f"no example answer for score {missing[0]}"}
    return {"status": "ok", "text": "\n\n".join(f"{score}: {str(text).strip()}" for score, text in texts.items())}
