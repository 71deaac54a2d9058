"""PersonaGym's scoring as the public code does it, faults included, so that scores can stand in its tables.

Prompts are equal byte for byte; all texts come from the suite's folder. What is wrong with them stays: rubrics of one
task go into a prompt as the repr of a Python list, of each example answer only the first line is shown, a score in bold
or after a colon is read as 0, and a reply without any readable score counts as 0 in the mean.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from string import Formatter
from typing import NamedTuple

from opencharacter.evaluation.suite_config import PersonagymMeasure
from opencharacter.records.evaluation import PublishedScore, ScoreRow
from opencharacter.templates import Template

PERSONA_SCORE = "PersonaScore"
"""Mean of a persona's tasks."""

PLACEHOLDERS: dict[str, set[str]] = {
    "judge_system": set(),
    "judge_prompt": {"rubrics"},
    "example": {"persona", "question", "rubric"},
    "examples": {"rubrics"},
}
"""What the text of each key of the settings holds, in single braces."""
RUBRIC_PLACEHOLDERS = {"persona", "question", "response", "score_example"}

_EXAMPLE = re.compile(r'Score (\d+): *Response - *"?(.*?)"?(?=\n*Score \d+: *Response -|$)', re.DOTALL)
_EVALUATION = re.compile(r"\(\d+\) Evaluation:(.*?)(?=\(\d+\) Evaluation:|$)", re.DOTALL)
_SCORE = re.compile(r"Therefore, the final score is\s*(\d+)")


class Answered(NamedTuple):
    """A question, the model's answer, and the example answers that the judge is shown."""

    question: str
    answer: str
    examples: str


@dataclass(frozen=True)
class Prompts:
    """The texts of the public repository, as the suite's folder holds them."""

    judge_system: str
    judge_prompt: str
    example: str
    examples: str
    rubrics: Mapping[str, str]

    @classmethod
    def read(cls, texts: Mapping[str, Template], settings: PersonagymMeasure) -> "Prompts":
        """Those that a suite names, out of its texts."""
        rubrics = {task: texts[name].text for task, name in settings.rubrics.items()}
        return cls(**{key: texts[getattr(settings, key)].text for key in PLACEHOLDERS}, rubrics=rubrics)

    def ask_examples(self, task: str, persona: str, question: str) -> str:
        """The prompt that asks for an example answer of each score."""
        request = self.example.format(persona=persona, question=question, rubric=self.rubrics[task])
        return self.examples.format(rubrics=[request])

    def ask_judge(self, task: str, persona: str, batch: Sequence[Answered]) -> str:
        """The prompt that asks for the scores of a batch."""
        rubric = self.rubrics[task]
        filled = [
            rubric.format(
                persona=persona, question=answered.question, response=answered.answer, score_example=answered.examples
            )
            for answered in batch
        ]
        return self.judge_prompt.format(rubrics=filled)


def placeholder_fault(text: str, expected: set[str]) -> str | None:
    """What is wrong with a text, which should have each placeholder once and no other brace; none if nothing is."""
    try:
        found = [
            "".join((field, f"!{conversion}" if conversion else "", f":{spec}" if spec else ""))
            for _, field, spec, conversion in Formatter().parse(text)
            if field is not None
        ]
    except ValueError as error:
        return f"a brace that belongs to no placeholder: {error}"
    if sorted(found) == sorted(expected):
        return None
    return f"expected {_braced(expected)}, each once and no other; found {_braced(found)}"


def _braced(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names)) or "no placeholder"


def read_examples(reply: str) -> str:
    """The example answers of a reply as the judge is shown them: the first line of each."""
    found = "\n\n".join(f'Score {score}: "{text.strip()}"' for score, text in _EXAMPLE.findall(reply))
    return "\n\n".join(line for line in found.split("\n") if line.startswith("Score"))


def read_scores(reply: str) -> list[int]:
    """The score of each evaluation in a judge's reply; 0 where none is found. There may be more or less than asked."""
    return [read_score(evaluation) for evaluation in _EVALUATION.findall(reply)]


def read_score(evaluation: str) -> int:
    """The whole number after the first `Therefore, the final score is`; 0 where there is none."""
    found = _SCORE.search(evaluation)
    return int(found[1]) if found else 0


def batch_mean(scores: Sequence[int]) -> float:
    """Mean of the scores that are not 0; 0 where there is no other."""
    readable = [score for score in scores if score]
    return sum(readable) / len(readable) if readable else 0.0


def published_scores(rows: Iterable[ScoreRow]) -> dict[str, PublishedScore]:
    """The scores of one model's rows; rows without a score, which a later run asks for again, are left out."""
    return tabulate((row.character_id or "", row.metric, row.score) for row in rows if row.score is not None)


def tabulate(batches: Iterable[tuple[str, str, float]]) -> dict[str, PublishedScore]:
    """From the means of batches, each with persona and task, to the scores of the tasks and `PersonaScore`.

    Batches are averaged to a persona's tasks, these to its score, all with equal weight.
    """
    means: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for persona, task, mean in batches:
        means[persona][task].append(mean)
    columns: dict[str, list[float]] = defaultdict(list)
    for tasks in means.values():
        scores = {task: fmean(values) for task, values in tasks.items()}
        for name, score in {**scores, PERSONA_SCORE: fmean(scores.values())}.items():
            columns[name].append(score)
    ordered = [name for name in columns if name != PERSONA_SCORE] + [PERSONA_SCORE] * bool(columns)
    return {
        name: PublishedScore(n=len(columns[name]), mean=fmean(columns[name]), sd=pstdev(columns[name]))
        for name in ordered
    }
