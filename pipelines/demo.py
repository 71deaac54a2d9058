"""The demo: the whole chain on the shipped data, then one question to the tuned and the base model side by side."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from opencharacter.characters import CharacterProfile
from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.engines import localize_model, stop_servers
from opencharacter.generation.errors import Unusable
from opencharacter.generation.sentences import whole_sentences
from opencharacter.pipelines.local import SERVERS_FOLDER, local_services, run_pipeline
from opencharacter.registry import RegisteredModel, resolve
from opencharacter.reporting import ModelAnswer, ReportInputs, ServedAnswer, make_report
from opencharacter.reporting.coherence import MAX_REPEATED, MAX_UNREADABLE, find_fault
from opencharacter.serving import Conversation, serve
from opencharacter.storage.kinds import REPORT
from opencharacter.storage.workspace import Workspace

MAX_DRAWS = 3
"""Seeds that each model is asked with, in order, until an answer is coherent."""

_DATA = resources.files("opencharacter.data") / "demo"
_PRESET = "demo"
_MAX_TOKENS = 160
_SMALL_MODEL = (
    "This model has 135 million parameters. It can write plain sentences and pick up words of the profile. It cannot"
    " reason, keep facts straight or stay in character for long. The demo shows the machinery, not quality."
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    served: ServedAnswer
    model: RegisteredModel
    alias: str
    report: Path


def run_demo(
    workdir: Path,
    *,
    question: str | None = None,
    overrides: Sequence[str] = (),
    on_line: Callable[[str], None],
    note: Callable[[str], None],
) -> DemoResult:
    """Run the preset `demo` in `workdir`, then ask the base model and the champion `question` as an unseen character.

    If the gate has refused the model, the challenger is asked instead. `on_line` gets the pipeline's output, `note`
    what happens after it.
    """
    config = load_run_config(preset=_PRESET, overrides=overrides)
    profile = CharacterProfile.model_validate(json.loads((_DATA / "character.json").read_text(encoding="utf-8")))
    question = question or (_DATA / "question.txt").read_text(encoding="utf-8").strip()
    with local_services(workdir):
        index = run_pipeline(config, workdir, on_line=on_line)
        run = ReportInputs.model_validate(index.stats["run"])
        alias = "champion" if run.decision and run.decision["passed"] else "challenger"
        address = f"models:/{config.registry.model_name}@{alias}"
        model = resolve(address)
        stop_servers(workdir / SERVERS_FOLDER)  # the pipeline's, which would only compete with the served models
        served = ServedAnswer(
            profile=profile,
            question=question,
            base=_ask_served(config.sft.base_model, config.sft.base_model, config, profile, question, note),
            tuned=_ask_served(address, model.uri, config, profile, question, note),
            notes=_notes(config),
        )
    report = make_report(run.model_copy(update={"served": served}), workspace=Workspace(workdir / "workspace"))
    return DemoResult(served, model, alias, REPORT.path(report))


def _ask_served(
    name: str,
    weights: str,
    config: RunConfig,
    profile: CharacterProfile,
    question: str,
    note: Callable[[str], None],
) -> ModelAnswer:
    note(f"serving {name} …")
    # A base model brings no prompt template; the packaged one is that of the tuned model.
    with serve(
        localize_model(weights),
        "demo",
        max_model_len=config.deploy.max_model_len,
        allow_packaged_prompt=True,
        packaged_prompt=config.system_prompt,
    ) as endpoint:
        answer = draw_answer(Conversation(profile, url=endpoint.url, model="demo"), question, _sampling(config))
    return answer.model_copy(update={"model": name})


def draw_answer(conversation: Conversation, question: str, sampling: Mapping[str, Any]) -> ModelAnswer:
    """The first coherent answer of `MAX_DRAWS` seeds, or the last one with its fault."""
    for seed in range(1, MAX_DRAWS + 1):
        settings = {**sampling, "max_tokens": _MAX_TOKENS, "seed": seed}
        text = "".join(conversation.ask(question, sampling=settings))
        cut = conversation.finish_reason == "length"
        fault = find_fault(text)
        if fault is None:
            break
        conversation.reset()
    if cut:
        with contextlib.suppress(Unusable):  # not one sentence is whole
            text = whole_sentences(text)
    return ModelAnswer(text=text, fault=fault, cut=cut, draws=seed)


def _sampling(config: RunConfig) -> dict[str, Any]:
    """The tuned model's defaults, said aloud, since the base model's are its own."""
    return config.sft.generation_config.model_dump() if config.sft.generation_config else {}


def _notes(config: RunConfig) -> list[str]:
    sampling = ", ".join(f"{name} {value:g}" for name, value in _sampling(config).items()) or "each model's defaults"
    drawn = (
        f"Both got the same prompt and sampling ({sampling}, at most {_MAX_TOKENS} tokens). Shown is the first of at"
        f" most {MAX_DRAWS} draws (seeds 1 to {MAX_DRAWS}) in which at most {MAX_REPEATED:.0%} of the four-word"
        f" sequences are repetitions and at most {MAX_UNREADABLE:.0%} of the words are unreadable."
    )
    shipped = load_run_config(preset=_PRESET).sft.base_model
    return [drawn, _SMALL_MODEL] if config.sft.base_model == shipped else [drawn]
