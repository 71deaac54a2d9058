"""A judge with planted faults, which replies to `JudgeCall`s without a server."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from opencharacter.characters import CharacterProfile
from opencharacter.engines import ChatReply, EngineConfig
from opencharacter.evaluation.judges.material import CheckItem
from opencharacter.evaluation.measures.protocol import Asking, JudgeCall
from opencharacter.evaluation.subjects import Judge
from opencharacter.hashing import seed64
from opencharacter.records.models import Turn, Usage

JUDGE = Judge("judge", EngineConfig(model="judge-1", base_url="http://nowhere/v1"), "judge-1", "judge-1@nowhere")
LENGTH = 120


def make_item(place: int, characters: int = 40, models: Sequence[str] = ("model-a", "model-b")) -> CheckItem:
    """A question to one of the characters, with answers of one length and quality 3 by the models."""
    name = f"Ada{place % characters}"
    character = CharacterProfile(name=name, experience="mends nets", personality="dry")
    answers = {model: f"I, {name}, say {place} as {model}, of quality 3.".ljust(LENGTH, "x") for model in models}
    asked = [Turn(role="user", content="Who are you?")]
    return CheckItem("frozen", f"i{place}", 0, f"s{place}", character, character.id, asked, answers)


@dataclass(frozen=True)
class FaultyJudge:
    """Scores what an answer says of its quality, with the faults that are planted."""

    first_place: float = 0.5
    """Chance to prefer the answer shown first."""
    length_slope: float = 0.0
    """Added to a score for twice the length."""
    noise: float = 0.0
    """Share of scores that are drawn at random."""
    garbage: float = 0.0
    refusals: float = 0.0
    seed: int = 0

    def __call__(self, call: JudgeCall) -> dict[str, Any]:
        """What is stored of its reply."""
        prompt = str(call.messages[0]["content"])
        rng = random.Random(seed64(self.seed, prompt, call.seed, call.sampling.temperature))
        draw = rng.random()
        if draw < self.garbage:
            text = "%%% <<lorem>>"
        elif draw < self.garbage + self.refusals:
            text = "I'm sorry, but I cannot help with that."
        elif "# Answer 1" in prompt:
            better = "1" if rng.random() < self.first_place else "2"
            text = json.dumps({"reason": "r", "better": better})
        else:
            text = json.dumps({"reason": "r", "score": self._score(prompt, rng)})
        return call.read(ChatReply(text=text, finish_reason="stop", usage=Usage()))

    def _score(self, prompt: str, rng: random.Random) -> int:
        if rng.random() < self.noise:
            return rng.randint(1, 5)
        answer = prompt.partition("# The actor's answer")[2].partition("# The aspect")[0].strip()
        name = prompt.partition("Name: ")[2].split()[0]
        if f"I, {name}, say" not in answer:
            return 1
        exact = 3 + self.length_slope * math.log2(len(answer) / LENGTH)
        return min(5, math.floor(exact) + (rng.random() < exact % 1))


def drive(asking: Asking[Any], judge: Callable[[JudgeCall], dict[str, Any]]) -> Any:
    """Reply to everything that is asked; returns the result."""
    try:
        calls = next(asking)
        while True:
            calls = asking.send([judge(call) for call in calls])  # type: ignore[arg-type]
    except StopIteration as end:
        return end.value


@pytest.fixture
def items() -> list[CheckItem]:
    return [make_item(place) for place in range(80)]
