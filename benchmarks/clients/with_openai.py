"""The openai client as most scripts use it: one `gather` over all rows, bounded by a semaphore."""

import asyncio
import json

import openai
from measured import SAMPLING, Job, run
from openai.types.chat import ChatCompletionMessageParam


async def _ask_all(job: Job) -> None:
    slots = asyncio.Semaphore(job.in_flight)

    async def ask(messages: list[ChatCompletionMessageParam]) -> str:
        async with slots:
            completion = await client.chat.completions.create(model="fake", messages=messages, extra_body=SAMPLING)
        return completion.choices[0].message.content or ""

    async with openai.AsyncOpenAI(base_url=job.url, api_key="none", timeout=300) as client:
        answers = await asyncio.gather(*map(ask, job.messages()))
    job.work.mkdir(parents=True)
    (job.work / "answers.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))


if __name__ == "__main__":
    run(lambda job: asyncio.run(_ask_all(job)))
