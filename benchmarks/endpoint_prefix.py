"""What the prompt's order is worth to callers: hits of the prefix cache and time to the first token, on a real vLLM.

    python benchmarks/endpoint_prefix.py

vLLM serves a small model on this machine's CPU, behind the transformer. What is stable stands first in a prompt: the
character, then scenario and user, then the history. So turns of one session find all before them in the cache, and
sessions of one character find its profile. Sessions of ever new characters are the measure to compare with.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prefix_hits import MODEL, counters
from tables import markdown, percent
from workload import WORDS

from opencharacter.client import OpenCharacter
from opencharacter.engines.weights import localize_model
from opencharacter.serving import serve

_CALLS = 8
_ANSWER_TOKENS = 16
_CONTEXT = 4096


@dataclass
class Call:
    """One chat call."""

    character: dict[str, str]
    messages: list[Any]
    user_name: str
    scenario: str


@dataclass
class Seen:
    """What came of the calls of one kind."""

    kind: str
    prompt_tokens: int
    cached_tokens: int
    first_token_s: list[float]


class _Writer:
    """Makes up characters and texts; each kind of calls has its own, so that none finds another's in the cache."""

    def __init__(self, seed: str) -> None:
        self._draw = random.Random(seed)

    def text(self, words: int) -> str:
        return " ".join(self._draw.choices(WORDS, k=words)).capitalize() + "."

    def character(self) -> dict[str, str]:
        return {
            "name": self.text(2),
            "persona": self.text(30),
            "personality": self.text(100),
            "experience": self.text(150),
        }

    def session(self, character: dict[str, str]) -> Call:
        return Call(character, [{"role": "user", "content": self.text(40)}], self.text(1), self.text(40))


def _turns_of_one_session(writer: _Writer) -> Iterator[Call]:
    call = writer.session(writer.character())
    for _ in range(_CALLS):
        yield call
        call.messages += [
            {"role": "assistant", "content": writer.text(60)},
            {"role": "user", "content": writer.text(40)},
        ]


def _sessions_of_one_character(writer: _Writer) -> Iterator[Call]:
    character = writer.character()
    yield from (writer.session(character) for _ in range(_CALLS))


def _sessions_of_new_characters(writer: _Writer) -> Iterator[Call]:
    yield from (writer.session(writer.character()) for _ in range(_CALLS))


_WARM_UP = "warm-up"
_KINDS: dict[str, Callable[[_Writer], Iterator[Call]]] = {
    _WARM_UP: _sessions_of_new_characters,
    "sessions of new characters": _sessions_of_new_characters,
    "sessions of one character": _sessions_of_one_character,
    "turns of one session": _turns_of_one_session,
}


def _measure(client: OpenCharacter, vllm: str, kind: str) -> Seen:
    print(kind, file=sys.stderr, flush=True)
    writer, firsts = _Writer(kind), []
    before = counters(vllm)
    for call in _KINDS[kind](writer):
        playing = client.playing(call.character, scenario=call.scenario, user_name=call.user_name)
        started = time.perf_counter()
        stream = playing.chat.completions.create(
            model="small", messages=call.messages, max_tokens=_ANSWER_TOKENS, stream=True
        )
        first: float | None = None
        for _ in stream:
            first = first or time.perf_counter() - started
        firsts.append(first or 0.0)
    after = counters(vllm)
    queries, hits = (int(after[name] - before[name]) for name in ("queries", "hits"))
    return Seen(kind, queries, hits, firsts[1:])  # the first call of each kind finds nothing


def main() -> None:
    with serve(localize_model(MODEL), "small", max_model_len=_CONTEXT, allow_packaged_prompt=True) as endpoint:
        _, vllm = endpoint.servers
        with OpenCharacter(base_url=endpoint.url, api_key="none") as client:
            seen = [_measure(client, vllm.url, kind) for kind in _KINDS]
    rows = [
        [
            run.kind,
            _CALLS,
            f"{run.prompt_tokens:,}",
            percent(run.cached_tokens / run.prompt_tokens),
            f"{1000 * statistics.median(run.first_token_s):.0f}",
        ]
        for run in seen
        if run.kind != _WARM_UP
    ]
    print(markdown(["vLLM on a CPU", "calls", "prompt tokens", "from the prefix cache", "TTFT p50, ms"], rows))


if __name__ == "__main__":
    main()
