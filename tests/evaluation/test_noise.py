"""What earlier scores say about the smallest effect of the next comparison."""

import numpy as np
import pytest

from opencharacter.evaluation.noise import score_components
from opencharacter.evaluation.statistics import Design, planned_effect
from opencharacter.records.evaluation import RATING, ScoreRow, Scoring

SCORING = Scoring(scales={"task": RATING, "other": RATING})


def rows(models: int, characters: int = 60, *, character: float = 0.3, item: float = 0.6) -> list[ScoreRow]:
    """Scores of known spread; questions are of very different difficulty, which both models share."""
    draw = np.random.default_rng(7).normal
    made = []
    difficulty = draw(0, 1, (characters, 8))
    for model in range(models):
        of_character = draw(0, character, characters)
        for number in range(characters):
            for question in range(8):
                score = 3 + of_character[number] + draw(0, item) + difficulty[number, question] + model * 0.2
                made.append(
                    ScoreRow(
                        question_id=f"{number}-{question}",
                        character_id=f"character {number}",
                        session_id=f"{number}-{question}",
                        cell=None,
                        model=f"model {model}",
                        status="ok",
                        metric="task" if question % 2 else "other",
                        judge="judge",
                        score=score,
                    )
                )
    return made


def test_the_difficulty_of_questions_cancels_between_two_models() -> None:
    alone = score_components(rows(1), SCORING, fewest=20)
    paired = score_components(rows(2), SCORING, fewest=20)
    assert alone is not None
    assert paired is not None
    assert paired.item == pytest.approx(0.6**2, rel=0.15)
    assert paired.character == pytest.approx(0.3**2, rel=0.35)
    assert alone.item == pytest.approx(0.6**2 + 1, rel=0.15)
    design = Design(60, 8)
    assert planned_effect(design, paired) < planned_effect(design, alone)


def test_too_few_characters_or_equal_scores_say_nothing() -> None:
    assert score_components(rows(2, 19), SCORING, fewest=20) is None
    equal = [row.model_copy(update={"score": 3.0}) for row in rows(2)]
    assert score_components(equal, SCORING, fewest=20) is None
    assert score_components([], SCORING, fewest=20) is None
