"""The question by which a judge scores an answer as a whole, whatever the suite: for canaries and `judge-check`."""

from collections.abc import Sequence

from opencharacter.characters import CharacterProfile
from opencharacter.engines import Sampling
from opencharacter.evaluation.measures.protocol import JudgeCall, user_message
from opencharacter.evaluation.measures.rubric import describe, transcript
from opencharacter.evaluation.subjects import Judge
from opencharacter.generation.judgements import judgement_reader, judgement_schema
from opencharacter.records.models import Turn
from opencharacter.templates import load_template

OVERALL = "overall"
"""The metric of an answer that is rated as a whole."""
SCALE = (1, 5)
SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)


class OverallQuestion:
    """Asks for an overall score from 1 to 5."""

    def __init__(self) -> None:
        self._prompt = load_template("judge.md")
        self._aspect = load_template("overall.md").text.strip()

    def __call__(
        self, judge: Judge, character: CharacterProfile | None, conversation: Sequence[Turn], answer: str, seed: int
    ) -> JudgeCall:
        """The call about an answer."""
        low, high = SCALE
        text = self._prompt.render(
            **describe(character),
            conversation=transcript(conversation),
            question=conversation[-1].content if conversation else "",
            answer=answer,
            aspect=self._aspect,
            task=OVERALL,
            examples="",
            low=str(low),
            high=str(high),
        )
        return JudgeCall(
            judge, user_message(text), SAMPLING, seed, schema=judgement_schema(*SCALE), read=judgement_reader(*SCALE)
        )
