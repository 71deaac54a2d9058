"""The run configuration: one YAML that holds inputs, models, engines, seeds and every step's settings."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.evaluation.evaluation_config import EvaluateConfig, GateConfig
from opencharacter.library import fingerprint
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.records.evaluation import GRID
from opencharacter.registry.registered_model import RegistryConfig
from opencharacter.serving.deploy_config import DeployConfig
from opencharacter.synthesis.synthesis_config import InputsConfig, ProfilesConfig, QualityConfig, ResponsesConfig
from opencharacter.templates import packaged_templates
from opencharacter.training.sft_config import SftConfig


def run_identity(seed: int, system_prompt: PromptName = DEFAULT_PROMPT) -> dict[str, Any]:
    """The argument `run` of every component: what besides settings and inputs decides a step's result.

    A component refuses to run where library or prompts are others, so that KFP's cache is sound.
    """
    identity: dict[str, Any] = {
        "seed": seed,
        "library": fingerprint(),
        "prompts": {name: template.hash for name, template in packaged_templates().items()},
    }
    # The default is left out: it decides what it always did.
    return identity | ({} if system_prompt == DEFAULT_PROMPT else {"system_prompt": system_prompt})


class RunConfig(BaseModel):
    """A whole run. Each section is one step's settings model, and one parameter of the pipeline.

    `quality` is none: where it is set, the pipeline has one step more, which holds it.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$", description="name of the run and of its pipeline")
    seed: int = Field(default=0, ge=0, lt=2**53, description="decides every draw, split and sampling seed")
    shards: int = Field(default=1, ge=1, le=256, description="parallel workers of each synthesis stage")
    system_prompt: PromptName = Field(
        default=DEFAULT_PROMPT,
        description="system prompt of G, training, evaluation and the served model: `immersive` speaks as the"
        " character itself, `paper` as an AI that plays it (arXiv 2501.15427)",
    )
    inputs: InputsConfig
    engines: dict[str, EngineConfig] = Field(default={}, description="chat models by name: teachers and judges")
    profiles: ProfilesConfig = ProfilesConfig()
    responses: ResponsesConfig = ResponsesConfig()
    quality: QualityConfig | None = Field(default=None, description="a judge of the dialogues; none: all are kept")
    mix: MixConfig = MixConfig()
    sft: SftConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    registry: RegistryConfig = RegistryConfig()
    deploy: DeployConfig = DeployConfig()

    @model_validator(mode="after")
    def _inputs_belong_together(self) -> "RunConfig":
        inputs = self.inputs
        if inputs.dataset and (inputs.personas or inputs.characters or inputs.corpora):
            raise ValueError(
                "inputs: `dataset` has characters and dialogues: give no `personas`, `characters` or `corpora` with it"
            )
        if inputs.personas and inputs.characters:
            raise ValueError("inputs: give either `personas`, to make characters from, or `characters`, not both")
        if not inputs.dataset and not ((inputs.personas or inputs.characters) and inputs.corpora):
            raise ValueError("inputs: `corpora` are needed, and `personas` or `characters`; or else `dataset`")
        names = [corpus.name for corpus in inputs.corpora]
        if len(set(names)) < len(names):
            raise ValueError(f"inputs.corpora: names must differ, got {names}")
        return self

    @model_validator(mode="after")
    def _engines_are_declared(self) -> "RunConfig":
        wanted = {f"inputs.corpora.{i}.teacher": corpus.teacher for i, corpus in enumerate(self.inputs.corpora)}
        if self.inputs.personas:
            wanted["profiles.teacher"] = self.profiles.teacher
        if self.quality:
            wanted["quality.engine"] = self.quality.engine
        for judge in self.evaluate.judges:
            in_section = self.evaluate.judge and judge == self.evaluate.judge.engine
            wanted[f"evaluate.{'judge.engine' if in_section else f'judges: {judge}'}"] = judge
        for key, engine in wanted.items():
            if engine not in self.engines:
                raise ValueError(f"{key}: no engine '{engine}' under `engines`; declared: {sorted(self.engines)}")
        return self

    @model_validator(mode="after")
    def _gate_knows_its_suites(self) -> "RunConfig":
        measured = [choice.suite for choice in self.evaluate.choices]
        if any("/" in suite for suite in measured):
            return self  # a folder or an address: its name is in its suite.yaml
        named = {f"gate.guards.suites.{suite}": suite for suite in self.gate.guards.suites}
        if self.gate.primary is not None:
            named["gate.primary.suite"] = self.gate.primary.suite
        for key, suite in named.items():
            if suite not in measured:
                raise ValueError(f"{key}: '{suite}' is not one of evaluate.suites: {measured}")
        return self

    @model_validator(mode="after")
    def _gate_can_be_judged(self) -> "RunConfig":
        primary = self.gate.primary
        suite = primary.suite if primary else GRID
        if (primary.metric if primary else self.gate.metric) == "judge" and not self.evaluate.choice(suite).judges:
            raise ValueError(f"gate: a primary by 'judge' on '{suite}' needs evaluate.judges (or evaluate.judge)")
        return self

    def section(self, name: str) -> dict[str, Any]:
        """A section as plain JSON, without `None`, which is always a default and which a parameter cannot hold."""
        dumped: dict[str, Any] = getattr(self, name).model_dump(mode="json", exclude_none=True)
        return dumped

    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters, less the workspace: the same on a laptop and on a cluster.

        Raises `UserError` if there is no such suite, or something in it is wrong.
        """
        from opencharacter.evaluation.choosing import is_elsewhere, suite_version
        from opencharacter.mixing.frozen import frozen_texts

        frozen_texts(suite for suite in self.mix.frozen_suites if not is_elsewhere(suite))
        return {
            "run": run_identity(self.seed, self.system_prompt),
            "inputs": self.section("inputs"),
            "engines": {
                name: engine.model_dump(mode="json", exclude_none=True) for name, engine in self.engines.items()
            },
            "profiles": self.section("profiles"),
            "responses": self.section("responses"),
            "mix": self.section("mix"),
            "base_model": self.sft.base_model,
            "sft": self.section("sft"),
            "evaluate": self.section("evaluate"),
            "suites": [
                {"suite": choice.suite, "digest": suite_version(choice.suite)} for choice in self.evaluate.choices
            ],
            "gate": self.section("gate"),
            "registry": self.section("registry"),
            "deploy": self.section("deploy"),
            "shards": [{"shard": shard, "of": self.shards} for shard in range(self.shards)],
        }
