"""This library: the step that makes dialogues, with its row store, journal and checks."""

import json

from measured import Job, run

from opencharacter.engines import EngineConfig
from opencharacter.storage import Artifact, Workspace
from opencharacter.synthesis import Corpus, ResponsesConfig, synthesise_responses


def _make(job: Job) -> None:
    inputs = json.loads(job.requests.with_suffix(".inputs.json").read_text())
    synthesise_responses(
        ResponsesConfig(),
        [Corpus(name="made-up", uri="unused", license="CC0-1.0", strategies=["G"], n=inputs["n"])],
        {"teacher": EngineConfig(model="fake", base_url=job.url, concurrency=job.in_flight)},
        Artifact.model_validate(inputs["sessions"]),
        Artifact.model_validate(inputs["characters"]),
        workspace=Workspace(job.work),
        seed=1,
    )


if __name__ == "__main__":
    run(_make)
