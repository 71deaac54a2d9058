"""What the transformer adds to a call: the same requests to a fake model server, directly and through the transformer.

Run: python benchmarks/serving_hop.py [--requests 400]. Both ways are measured in turns in one run, so that the
machine's load weighs on both. The fake answers at once, so 32 callers keep client, transformer and fake busy on the
same cores all the time: the worst case, where the added time is queueing for the processor.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.fake_llm import fake_llm_process

from opencharacter.serving import run_transformer

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What did you do today?"}]
CHARACTER = {"name": "Ilse Brandt", "persona": "A lighthouse keeper", "experience": "She kept the light. " * 60}
ROUNDS = 4


async def _measure(url: str, extra: dict[str, object], concurrency: int, requests: int, stream: bool) -> list[float]:
    slots = asyncio.Semaphore(concurrency)

    async def call(number: int) -> float:
        async with slots:
            started = time.perf_counter()
            answer = await client.chat.completions.create(
                model="fake", messages=MESSAGES, seed=number, stream=stream, extra_body=extra
            )
            if isinstance(answer, openai.AsyncStream):
                async for _ in answer:
                    pass
            return time.perf_counter() - started

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        await call(-1)
        return await asyncio.gather(*(call(number) for number in range(requests)))


def _quantiles_ms(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return 1000 * cuts[49], 1000 * cuts[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="per way and setting")
    requests = parser.parse_args().requests // ROUNDS
    print("concurrency  answer   way          p50 ms   p99 ms   added p50   ratio p50")
    with (
        fake_llm_process() as direct,
        tempfile.TemporaryDirectory() as empty,
        run_transformer(
            direct.removeprefix("http://").removesuffix("/v1"),
            "fake",
            model_dir=Path(empty),
            allow_packaged_prompt=True,
        ) as front,
    ):
        ways: dict[str, tuple[str, dict[str, object]]] = {
            "direct": (direct, {}),
            "transformer": (front.url, {"character": CHARACTER}),
        }
        for concurrency in (1, 32):
            for stream in (False, True):
                times: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(ROUNDS):
                    for way, (url, extra) in ways.items():
                        times[way] += asyncio.run(_measure(url, extra, concurrency, requests, stream))
                base, _ = _quantiles_ms(times["direct"])
                for way in ways:
                    p50, p99 = _quantiles_ms(times[way])
                    kind = "stream" if stream else "whole"
                    figures = f"{p50:8.1f} {p99:8.1f} {p50 - base:11.1f} {p50 / base:11.2f}"
                    print(f"{concurrency:11}  {kind:7}  {way:11} {figures}")


if __name__ == "__main__":
    main()
