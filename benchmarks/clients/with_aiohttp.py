"""A bare aiohttp loop: no retries, no journal, answers kept in memory and written at the end. The upper bound."""

import asyncio
import json

import aiohttp
from measured import SAMPLING, Job, run


async def _ask_all(job: Job) -> None:
    rows = job.messages()
    answers: list[str] = []

    async def worker(session: aiohttp.ClientSession) -> None:
        for messages in rows:
            body = {"model": "fake", "messages": messages, **SAMPLING}
            async with session.post(f"{job.url}/chat/completions", json=body) as response:
                completion = await response.json()
            answers.append(completion["choices"][0]["message"]["content"])

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(300)) as session:
        await asyncio.gather(*(worker(session) for _ in range(job.in_flight)))
    job.work.mkdir(parents=True)
    (job.work / "answers.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))


if __name__ == "__main__":
    run(lambda job: asyncio.run(_ask_all(job)))
