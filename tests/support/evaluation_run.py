"""A small evaluation for tests: two models, two judges, examples and a scene; workers run it in their own processes."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.small_suite import FACTS, VOICE, write_suite
from support.synthesis_run import serve_forks

from opencharacter.engines import EngineConfig
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import endpoint_subject, load_judge
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
    for number in range(1, 3)
]


def write_scenes(folder: Path, name: str = "scenes") -> Path:
    """The suite's folder."""
    texts = {"examples.md": "Write answers for {{task}} of: {{persona}} to: {{question}}"}
    texts |= {"voice.md": f"{VOICE}\n\n{{{{examples}}}}", "facts.md": f"{FACTS}\n\n{{{{examples}}}}"}
    rubric = {"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}, "examples": "examples.md"}
    return write_suite(folder, name=name, items=SCENES, texts=texts, history="own", measures=[rubric])


@dataclass
class EvaluationRun:
    """One run of the suite in a workspace."""

    root: str
    url: str
    suite: str
    store: str = "evaluation"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def run(self) -> Artifact:
        def engine(model: str) -> EngineConfig:
            return EngineConfig(model=model, base_url=self.url, concurrency=3, max_retries=0)

        suite = load_suite(self.suite)
        found = run_suites(
            [suite],
            [endpoint_subject(name, engine(f"model-{name}")) for name in ("base", "challenger")],
            [load_judge(name, engine(f"judge-{name}")) for name in ("first", "second")],
            workspace=self.workspace,
            seed=3,
            store=self.store,
        )
        return found[suite.name]

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
    serve_forks(EvaluationRun)
