"""A small evaluation for tests: two models, two judges, examples and a scene; workers run it in their own processes."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.small_suite import FACTS, VOICE, write_suite
from support.synthesis_run import serve_forks

from opencharacter.engines import EngineConfig
from opencharacter.evaluation import losses
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import endpoint_subject, load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage import Artifact, Workspace, read_rows
from opencharacter.storage.journal import decode_calls
from opencharacter.storage.kinds import ANSWERS, JUDGEMENTS, SCORES

SCENES: list[dict[str, Any]] = [
    {
        "id": f"scene-{number}",
        "task": "voice" if number % 2 else "facts",
        "character": f"A keeper of lighthouse {number}.",
        "turns": [{"role": "user", "content": f"Question {turn}?"} for turn in range(1 + number % 3)],
    }
    for number in range(1, 4)
]
"""Too few characters for canaries."""


def write_scenes(folder: Path, name: str = "scenes") -> Path:
    """The suite's folder."""
    texts = {"examples.md": "Write answers for {{task}} of: {{persona}} to: {{question}}"}
    texts |= {"voice.md": f"{VOICE}\n\n{{{{examples}}}}", "facts.md": f"{FACTS}\n\n{{{{examples}}}}"}
    rubric = {"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}, "examples": "examples.md"}
    return write_suite(folder, name=name, items=SCENES, texts=texts, history="own", measures=[rubric])


def write_references(folder: Path) -> Path:
    """The folder of a suite that takes forward passes alone: the loss of each item's answer under two characters."""
    items = [scene | {"reference": f"It is lamp {number} that burns."} for number, scene in enumerate(SCENES)]
    items = [{key: value for key, value in item.items() if key != "task"} for item in items]
    return write_suite(folder, name="references", items=items, measures=[{"kind": "likelihood"}])


@dataclass
class EvaluationRun:
    """One run of the suite in a workspace."""

    root: str
    url: str
    suite: str
    store: str = "evaluation"
    weights: str = ""
    """A folder: the model whose losses are measured, in place of those behind the server."""
    killed_at: int = 0
    """Before this forward pass the process kills itself."""

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def run(self) -> Artifact:
        suite = load_suite(self.suite)
        if self.weights:
            subjects, judges = [load_subject("tuned", self.weights)], []
        else:
            subjects = [endpoint_subject(name, self._engine(f"model-{name}")) for name in ("base", "challenger")]
            judges = [load_judge(name, self._engine(f"judge-{name}")) for name in ("first", "second")]
        with self._counted_passes():
            found = run_suites(
                [suite],
                subjects,
                judges,
                workspace=self.workspace,
                seed=3,
                store=self.store,
            )
        return found[suite.name]

    def passes(self) -> int:
        """Forward passes that were ever made in this workspace."""
        log = self._log
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def _log(self) -> Path:
        return Path(f"{self.root}-passes")

    def _engine(self, model: str) -> EngineConfig:
        return EngineConfig(model=model, base_url=self.url, concurrency=3, max_retries=0)

    @contextmanager
    def _counted_passes(self) -> Iterator[None]:
        """Write a line for each forward pass, and die before the one that was named."""
        forward, before = losses._losses, self.passes()

        def compute(model: Any, batch: list[losses.Encoded]) -> list[float]:
            if self.passes() - before == self.killed_at - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            with self._log.open("a") as log:
                log.writelines(f"{encoded.ids}\n" for encoded in batch)
            return forward(model, batch)

        with patch.object(losses, "_losses", compute):
            yield

    def durable_calls(self) -> int:
        """Calls that are kept now: those of finished rows, and those in the journal."""
        files = self.workspace.rows(self.store)
        rows = read_rows(files)
        contents = [content for content in map(rows.read, rows) if "known" not in content]
        finished = sum(content.get("usage", {}).get("calls", 1) for content in contents)
        kept = {
            (call.row_id, call.key)
            for name in files.names("journal")
            for call in decode_calls(name, files.read(name))
            if not rows.finished(call.row_id) and "known" not in call.payload
        }
        return finished + len(kept)


def contents(found: Artifact) -> list[list[Any]]:
    """The rows of an output."""
    return [list(file.read(found)) for file in (ANSWERS, JUDGEMENTS, SCORES)]


if __name__ == "__main__":
    if "--losses" in sys.argv:
        import torch
        import transformers.models.llama.modeling_llama

        assert transformers
        torch.set_num_threads(1)
    serve_forks(EvaluationRun)
