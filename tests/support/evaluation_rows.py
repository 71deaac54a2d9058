"""Made-up but lifelike evaluations: three models, forty characters, five tasks, with effects and faults as planted."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from support.small_run import OutputMaker, profile

from opencharacter.evaluation.summary import summarise
from opencharacter.records.evaluation import AnswerRow, Item, Judgement, ScoreRow, Scoring, Status
from opencharacter.records.models import HELD_OUT_CELLS, Turn, Usage
from opencharacter.storage.workspace import Artifact

TASKS = (
    "expected_action",
    "toxicity_control",
    "linguistic_habits",
    "persona_consistency",
    "action_justification",
)
MODELS = {"base": "b" * 64, "champion": "a" * 64, "challenger": "c" * 64}
JUDGES = ("judge-north@9f31c2", "judge-south@04be77")
SKILL = {"base": 3.1, "champion": 3.75, "challenger": 3.95}
_LOG_TOKENS = {"base": 4.2, "champion": 4.6, "challenger": 4.9}
_SILENT = {"base": 0.03, "champion": 0.005, "challenger": 0.01}
_NAMES = "Rosa Ivo Mara Teo Ilse Juno Abel Nadia Bruno Wren Caspar Odile Pavel Suri Tomas Esme Linh Omar Petra Yuki"
_PLACES = ("the harbour", "the night market", "the observatory", "a stalled tram", "the mill")
_WORDS = """listen the tide keeps its own ledger and so do I you ask what I would do well first I'd put the kettle on
then count the boats twice because my mother counted once and was wrong there is no shame in a slow answer if the
rope holds we talk if it does not we swim"""
_REASONS = {
    1: "Leaves the character at once and speaks as an assistant.",
    2: "The voice is generic; one detail of the persona is wrong.",
    3: "In character, but says nothing that only this character would say.",
    4: "Fits the persona's trade and temper; the close is a little neutral.",
    5: "Every sentence carries the persona's habits, and the action follows from them.",
}


def cast(count: int = 40) -> list[Any]:
    """Profiles with names of their own."""
    firsts = _NAMES.split()
    return [profile(f"{firsts[place % len(firsts)]} {'Vale' if place < 20 else 'Orlov'}") for place in range(count)]


def make_suite_evaluation(
    make_output: OutputMaker,
    *,
    suite: str = "personagym-light",
    seed: int = 3,
    characters: int = 40,
    questions: int = 2,
    skill: Mapping[str, float] = SKILL,
    judges: tuple[str, ...] = JUDGES,
    cells: bool = False,
    text: str | None = None,
    models: Mapping[str, str] = MODELS,
    digest: str = "d" * 64,
    turns: int = 1,
) -> Artifact:
    """A committed evaluation of one suite: base, champion and challenger by two judges.

    The challenger is chattier, is sometimes cut off, and its toxicity control is below the champion's. `text` is put
    into every text that a model or a judge wrote.
    """
    draw = random.Random(seed)
    people = cast(characters)
    items = list(_items(suite, people, questions, cells))
    gift = {person.id: draw.gauss(0, 0.25) for person in people}
    answers: list[AnswerRow] = []
    scores: list[ScoreRow] = []
    judgements: list[Judgement] = []
    for item, (role, model) in itertools.product(items, models.items()):
        status, finish = _fate(draw, role)
        level = skill.get(role, 3.5) + gift[str(item.character_id)] - (0.5 if _is_spoiled(role, item.task) else 0)
        tokens = max(12, int(math.exp(draw.gauss(_LOG_TOKENS.get(role, 4.5), 0.45))))
        shared: dict[str, Any] = {
            "suite": suite,
            "question_id": item.id,
            "model": model,
            "character_id": item.character_id,
            "session_id": item.session_id,
            "cell": item.cell,
        }
        said = None if status == "empty_answer" else (text or _prose(draw, tokens))
        answers.append(
            AnswerRow(
                **shared,
                status=status,
                conversation=item.turns,
                answer=said,
                finish_reason=finish,
                usage=Usage(calls=1, prompt_tokens=410, completion_tokens=tokens),
                system_prompt_hash="5" * 64,
            )
        )
        for place, judge in enumerate(judges):
            verdict: Status = "no_answer" if said is None else draw.choices(("ok", "parse_failure"), (99, 1))[0]
            noise = draw.gauss(level - 0.15 * place + 0.1 * math.log(tokens / 100), 0.7)
            score = min(5, max(1, round(noise))) if verdict == "ok" else None
            reason = (text or _REASONS[score]) if score is not None else None
            scores.append(
                ScoreRow(
                    **shared, metric=item.task, judge=judge, status=verdict, score=score, tokens=tokens, note=reason
                )
            )
            # In a conversation each turn is judged, and the answers get worse.
            for number in range(turns):
                judgements.append(
                    Judgement(
                        suite=suite,
                        question_id=item.id,
                        metric=item.task,
                        model=model,
                        turn=number + 1 if turns > 1 else None,
                        judge=judge,
                        rubric_hash="7" * 64,
                        status=verdict,
                        score=None if score is None else max(1, score - number // 3),
                        reason=reason,
                        reply="Four, I think" if score is None else None,
                    )
                )
    return _commit(make_output, people, items, answers, judgements, scores, models, digest)


def _items(suite: str, people: list[Any], questions: int, cells: bool) -> Iterator[Item]:
    for (number, person), task, question in itertools.product(enumerate(people), TASKS, range(questions)):
        place = _PLACES[(number + question) % len(_PLACES)]
        yield Item(
            id=f"{suite}-{number}-{task}-{question}",
            suite=suite,
            task=task,
            character_id=person.id,
            session_id=f"{suite}-{number}-{task}",
            cell=HELD_OUT_CELLS[(number + question) % 3] if cells else None,
            turns=[Turn(role="user", content=f"You are at {place}, and the lights fail. What do you do, and why?")],
            license="CC0-1.0",
        )


def _fate(draw: random.Random, role: str) -> tuple[Status, str]:
    if draw.random() < _SILENT.get(role, 0.01):
        return "empty_answer", "stop"
    return ("truncated", "length") if draw.random() < (0.08 if role == "challenger" else 0.01) else ("ok", "stop")


def _is_spoiled(role: str, task: str) -> bool:
    return role == "challenger" and task == "toxicity_control"


def _prose(draw: random.Random, tokens: int) -> str:
    words = [draw.choice(_WORDS.split()) for _ in range(min(160, int(tokens * 0.75)))]
    return " ".join(words).capitalize() + "."


def _commit(
    make_output: OutputMaker,
    people: list[Any],
    items: list[Item],
    answers: list[AnswerRow],
    judgements: list[Judgement],
    scores: list[ScoreRow],
    models: Mapping[str, str] = MODELS,
    digest: str = "d" * 64,
) -> Artifact:
    scoring = Scoring(pairs=False, clusters=("character_id",))
    about = {"suite": items[0].suite, "suite_digest": digest, "items_digest": "e" * 64, "system_prompt": "own"}
    rows: dict[str, list[Any]] = {
        "characters.jsonl.zst": people,
        "items.jsonl.zst": items,
        "answers.jsonl.zst": answers,
        "judgements.jsonl.zst": judgements,
        "rows.jsonl.zst": scores,
    }
    texts = {"summary.json": summarise(scores, models, scoring).model_copy(update=about).model_dump_json()}
    return make_output("evaluation", rows, texts=texts)


def make_arena_evaluation(make_output: OutputMaker, *, seed: int = 5, characters: int = 40) -> Artifact:
    """Challenger against champion in both orders, by a judge who likes the answer shown first."""
    draw = random.Random(seed)
    people = cast(characters)
    items = list(_items("arena", people, 1, cells=False))
    answers, scores, judgements = [], [], []
    pair = (MODELS["challenger"], MODELS["champion"])
    for item in items:
        verdicts = []
        for model, rival in (pair, pair[::-1]):
            shared: dict[str, Any] = {"suite": "arena", "question_id": item.id, "character_id": item.character_id}
            shared |= {"session_id": item.session_id, "cell": None, "model": model, "status": "ok"}
            answers.append(AnswerRow(**shared, conversation=item.turns, answer=_prose(draw, 60), finish_reason="stop"))
            first = draw.choices((1.0, 0.5, 0.0), (0.62 if model == pair[0] else 0.5, 0.1, 0.3))[0]
            verdicts.append(first if model == pair[0] else 1 - first)
            judgements.append(
                Judgement(
                    suite="arena",
                    question_id=item.id,
                    metric="preference",
                    model=model,
                    rival=rival,
                    judge=JUDGES[0],
                    rubric_hash="7" * 64,
                    status="ok",
                    score=first,
                    reason="Warmer.",
                )
            )
        for model, score in zip(pair, (sum(verdicts) / 2, 1 - sum(verdicts) / 2), strict=True):
            row = answers[-1].model_copy(update={"model": model})
            scores.append(
                ScoreRow(
                    **row.model_dump(include={"suite", "question_id", "character_id", "session_id", "cell", "model"}),
                    metric="preference",
                    judge=JUDGES[0],
                    status="ok",
                    score=score,
                )
            )
    return _commit(make_output, people, items, answers, judgements, scores)
