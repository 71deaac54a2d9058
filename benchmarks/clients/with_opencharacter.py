"""This library: the step that makes dialogues, with its row store, journal and checks.

Settings: `shard=0/8`, the part of the rows to make; `put_s=0.04`, what each new file of the row store costs besides, as
on an object store.
"""

import json
import time

from measured import Job, run

from opencharacter.engines import EngineConfig
from opencharacter.generation.shards import Shard
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.local import LocalBackend, LocalRowFiles
from opencharacter.synthesis import Corpus, ResponsesConfig, synthesise_responses


def _make(job: Job) -> None:
    inputs = json.loads(job.requests.with_suffix(".inputs.json").read_text())
    if put_s := float(job.settings.get("put_s", 0)):
        _slow_down(put_s)
    index, of = map(int, job.settings.get("shard", "0/1").split("/"))
    synthesise_responses(
        ResponsesConfig(),
        [Corpus(name="made-up", uri="unused", license="CC0-1.0", strategies=["G"], n=inputs["n"])],
        {"teacher": EngineConfig(model="fake", base_url=job.url, concurrency=job.in_flight)},
        Artifact.model_validate(inputs["sessions"]),
        Artifact.model_validate(inputs["characters"]),
        workspace=Workspace(job.work),
        seed=1,
        shard=Shard(index, of),
    )


def _slow_down(put_s: float) -> None:
    class SlowFiles(LocalRowFiles):
        def put(self, name: str, data: bytes) -> None:
            time.sleep(put_s)
            super().put(name, data)

    setattr(LocalBackend, "rows", lambda self, name: SlowFiles(self.root / "rows" / name))  # noqa: B010


if __name__ == "__main__":
    run(_make)
