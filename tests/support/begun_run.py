"""The run of `tests/resuming`: its teacher and its steps, begun by an earlier version and continued by this one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.fake_llm import FakeLLM, default_answer

from opencharacter.config.loading import load_run_config
from opencharacter.evaluation import evaluate
from opencharacter.generation.shards import Shard
from opencharacter.hashing import digest, fraction
from opencharacter.mixing import mix
from opencharacter.storage import Artifact, Workspace, read_rows
from opencharacter.synthesis import (
    collect_dialogues,
    collect_profiles,
    ingest,
    synthesise_profiles,
    synthesise_responses,
)

FOLDER = Path(__file__).parents[1] / "resuming"
UNREADABLE = "[[ no JSON at all"


def answer(request: dict[str, Any]) -> str:
    """What teacher and judge say, by the request alone: some answers are unusable, one persona's always."""
    wants_json = "response_format" in request
    hopeless = "night baker" in str(request["messages"]) and "birth_place" in str(request.get("response_format"))
    if hopeless or fraction("bad", request["messages"], request["seed"]) < 0.15:
        return UNREADABLE if wants_json else "As an AI, I have no answer."
    return default_answer(request)


def asked(server: FakeLLM) -> list[str]:
    """A digest of each call that the server answered, in order of arrival: who was asked what, with which seed."""
    answered = (call.request for call in server.calls if call.outcome == "ok")
    return [digest([request["model"], request["messages"], request["seed"]]) for request in answered]


@dataclass
class BegunRun:
    """The run in one workspace. Each method is a step, and takes what earlier steps made out of the workspace."""

    root: Path
    url: str
    model: Path
    """Weights that are tuned and judged."""
    overrides: tuple[str, ...] = ()
    inputs: Path = FOLDER / "run"

    def __post_init__(self) -> None:
        overrides = [
            f"engines.teacher.base_url={self.url}",
            f"engines.judge.base_url={self.url}",
            # So the judge's server plays the judged model, too.
            f"engines.judge.weights={self.model}",
            f"sft.base_model={self.model}",
        ]
        self.config = load_run_config(self.inputs / "run.yaml", overrides=[*overrides, *self.overrides])
        self.workspace = Workspace(self.root)

    def profiles(self, shard: int) -> Artifact:
        common = {"workspace": self.workspace, "seed": self.config.seed}
        return synthesise_profiles(*self._profiles(), **common, shard=Shard(shard, self.config.shards))

    def characters(self) -> Artifact:
        return collect_profiles(*self._profiles(), workspace=self.workspace, seed=self.config.seed)

    def responses(self, shard: int) -> Artifact:
        common = {"workspace": self.workspace, "seed": self.config.seed}
        return synthesise_responses(*self._responses(), **common, shard=Shard(shard, self.config.shards))

    def dialogues(self) -> Artifact:
        return collect_dialogues(*self._responses(), workspace=self.workspace, seed=self.config.seed)

    def synthesise(self) -> tuple[Artifact, Artifact]:
        """All steps up to the dialogues: characters and dialogues."""
        for shard in range(self.config.shards):
            self.profiles(shard)
        characters = self.characters()
        for shard in range(self.config.shards):
            self.responses(shard)
        return characters, self.dialogues()

    def evaluate(self) -> Artifact:
        """The mixture, and the model judged on it."""
        mixture = mix(
            self.config.mix,
            self.dialogues(),
            self.characters(),
            base_model=str(self.model),
            workspace=self.workspace,
            seed=self.config.seed,
        )
        return evaluate(
            self.config.evaluate,
            mixture,
            models={"base": str(self.model), "challenger": str(self.model)},
            judge=self.config.engines["judge"],
            workspace=self.workspace,
            seed=self.config.seed,
        )

    def evaluate_all(self) -> Artifact:
        """All steps up to the evaluation."""
        self.synthesise()
        return self.evaluate()

    def addresses(self) -> dict[str, dict[str, str]]:
        """The committed rows that took LLM calls: of each stage every address, and what the row says."""
        found: dict[str, dict[str, str]] = {}
        for stage in ("profiles", "responses", "evaluation"):
            store = read_rows(self.workspace.rows(stage))
            rows = {row_id: store.read(row_id) for row_id in sorted(store)}
            found[stage] = {
                row_id: _words(row) for row_id, row in rows.items() if row.keys().isdisjoint({"loss", "known"})
            }
        return found

    def _profiles(self) -> tuple[Any, ...]:
        config = self.config.profiles
        return (
            config,
            self.config.engines[config.teacher],
            ingest(self.config.inputs, workspace=self.workspace).personas,
        )

    def _responses(self) -> tuple[Any, ...]:
        sessions = ingest(self.config.inputs, workspace=self.workspace).sessions
        inputs = self.config.inputs
        return self.config.responses, inputs.corpora, self.config.engines, sessions, self.characters()


def _words(row: dict[str, Any]) -> str:
    content = row.get("content") or {}
    said = [content.get("name"), *content.get("answers", []), row.get("answer"), row.get("note"), row.get("reason")]
    return next(text for text in said if text)[:60]
