"""A small synthesis run for tests: inputs, the four steps, and a warm process that forks workers to be killed."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines import EngineConfig, Sampling
from opencharacter.engines.engine_config import RequestConfig
from opencharacter.generation.shards import Shard
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.models import Persona, Session, Turn
from opencharacter.storage import Artifact, Workspace, rowstore, write_jsonl
from opencharacter.storage.s3 import lease
from opencharacter.storage.s3 import rows as s3_rows
from opencharacter.synthesis import (
    Corpus,
    ProfilesConfig,
    ResponsesConfig,
    collect_dialogues,
    collect_profiles,
    dialogues,
    synthesise_profiles,
    synthesise_responses,
)

PERSONAS = [
    f"A {who} who {does}."
    for who in ("beekeeper", "tram driver", "puppet maker", "tide watcher")
    for does in ("collects odd words", "is afraid of geese", "never finishes a book")
]

CONVERSATIONS = [
    ["How do I boil an egg?", "Put it into boiling water for seven minutes."],
    ["Name a river.", "The Danube.", "And a longer one?", "The Nile is longer."],
    ["What should I read?", "A sea story.", "Why?", "It is calm.", "And then?", "A book about bread."],
    ["Write a line about rain.", "Rain draws rings on the pond."],
    ["Tell me about your home."],
    ["Is tea better than coffee?", "Both have their hour.", "Which hour has tea?"],
]


def conversation(texts: list[str], corpus: str = "talk") -> Session:
    """A session of user and assistant turns, in turn."""
    turns = tuple(Turn(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(texts))
    return Session(id=digest([corpus, texts]), corpus=corpus, turns=turns, source=corpus, licence="CC0-1.0")


@dataclass
class SmallRun:
    """One run's settings; every step is a method. The defaults give 12 profiles, and 28 rows of R and G."""

    root: str
    url: str
    model: str = "fake"
    shards: int = 1
    seed: int = 11
    n: int = 2
    strategies: tuple[str, ...] = ("R", "G")
    attempts: int = 2
    max_tokens: int = 400
    profile_max_tokens: int = 400
    concurrency: int = 4
    structured: bool = True
    request: dict[str, Any] = field(default_factory=dict)
    by_character: bool = False
    """Shards of dialogues are cut by character, however few there are; only in a worker of a `WorkerForge`."""
    max_rejected_share: float = 0.9
    system_prompt: PromptName = DEFAULT_PROMPT
    rewrite_room: Literal["even", "session"] = "even"
    personas: list[str] = field(default_factory=lambda: list(PERSONAS))
    conversations: list[list[str]] = field(default_factory=lambda: [list(texts) for texts in CONVERSATIONS])

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def engine(self) -> EngineConfig:
        return EngineConfig(
            model=self.model,
            base_url=self.url,
            concurrency=self.concurrency,
            structured_output=self.structured,
            max_retries=1,
            request=RequestConfig(**self.request),
        )

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.max_tokens)

    def persona_ref(self) -> Artifact:
        rows = [Persona(id=digest(text)[:16], text=text, source="tests", licence="CC0-1.0") for text in self.personas]
        return self._input("personas", rows)

    def session_ref(self) -> Artifact:
        return self._input("sessions", [conversation(texts) for texts in self.conversations])

    def make_profiles(self, shard: int = 0) -> Artifact:
        return synthesise_profiles(
            self._profiles(),
            self.engine,
            self.persona_ref(),
            workspace=self.workspace,
            seed=self.seed,
            shard=Shard(shard, self.shards),
        )

    def characters(self) -> Artifact:
        return collect_profiles(
            self._profiles(), self.engine, self.persona_ref(), workspace=self.workspace, seed=self.seed
        )

    def make_responses(self, shard: int = 0) -> Artifact:
        return synthesise_responses(
            *self._responses(),
            workspace=self.workspace,
            seed=self.seed,
            shard=Shard(shard, self.shards),
            system_prompt=self.system_prompt,
        )

    def dialogues(self) -> Artifact:
        return collect_dialogues(
            *self._responses(), workspace=self.workspace, seed=self.seed, system_prompt=self.system_prompt
        )

    def run(self) -> tuple[Artifact, Artifact]:
        """All steps, one shard after the other: characters and dialogues."""
        for shard in range(self.shards):
            self.make_profiles(shard)
        characters = self.characters()
        for shard in range(self.shards):
            self.make_responses(shard)
        return characters, self.dialogues()

    def _profiles(self) -> ProfilesConfig:
        return ProfilesConfig(
            sampling=Sampling(max_tokens=self.profile_max_tokens),
            attempts=self.attempts,
            max_rejected_share=self.max_rejected_share,
        )

    def _responses(self) -> tuple[ResponsesConfig, list[Corpus], dict[str, EngineConfig], Artifact, Artifact]:
        config = ResponsesConfig(
            rewrite_sampling=self.sampling,
            rewrite_room=self.rewrite_room,
            generate_sampling=self.sampling,
            attempts=self.attempts,
            max_rejected_share=self.max_rejected_share,
        )
        corpus = Corpus(name="talk", uri="unused", license="CC0-1.0", strategies=list(self.strategies), n=self.n)
        return config, [corpus], {"teacher": self.engine}, self.session_ref(), self.characters()

    def _input(self, kind: str, rows: list[Persona] | list[Session]) -> Artifact:
        key = digest([row.model_dump() for row in rows])
        if ref := self.workspace.lookup(kind, key):
            return ref
        with self.workspace.create(kind, key) as draft:
            write_jsonl(draft.path / f"{kind}.jsonl.zst", rows)
        return draft.committed()


class WorkerForge:
    """Starts runs in processes of their own within milliseconds, by forking a process that has all imports."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, run: Any) -> int:
        """Begin `run.run()` of a dataclass in a new process; its process id."""
        return int(self._ask(asdict(run)))

    def wait(self, pid: int) -> int:
        """Exit status of that process: negative for a signal."""
        return int(self._ask(pid))

    def _ask(self, request: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def worker_forge(script: str = __file__, *arguments: str) -> Iterator[WorkerForge]:
    """The warm process, which runs `serve_forks`; workers write their errors to this process's standard error."""
    process = subprocess.Popen(
        [sys.executable, script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield WorkerForge(process)
    finally:
        process.communicate()


def serve_forks(make: Callable[..., Any]) -> None:
    """Fork a worker for each request on standard input: the fields of the run that `make` makes."""
    # What a worker would import on its way to the first call; the larger part of its life otherwise.
    for module in ("anyio._backends._asyncio", "boto3.s3.transfer", "json_repair", "numpy", "openai.resources"):
        importlib.import_module(module)
    fingerprint()
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _work(make(**request))


def _work(run: Any) -> None:
    # Small parts, so that a short run commits and rewrites its journal many times.
    rowstore._FLUSH_ROWS = 5
    # In an object store: a successor that need not wait long, and several flushes of a short run.
    lease.LEASE_S, s3_rows.FLUSH_S = 4.0, 0.1
    if getattr(run, "by_character", False):
        dialogues.CHARACTERS_PER_SHARD = 0
    status = 1
    try:
        run.run()
        status = 0
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve_forks(SmallRun)
