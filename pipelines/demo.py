"""The demo: the whole chain on the shipped data, then one question to the served model as an unseen character."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from opencharacter.characters import CharacterProfile
from opencharacter.config.loading import load_run_config
from opencharacter.engines import localize_model, stop_servers
from opencharacter.pipelines.local import SERVERS_FOLDER, local_services, run_pipeline
from opencharacter.registry import RegisteredModel, resolve
from opencharacter.reporting import REPORT_FILE, ReportInputs, ServedAnswer, make_report
from opencharacter.serving import Conversation, serve
from opencharacter.storage.workspace import Workspace

_DATA = resources.files("opencharacter.data") / "demo"


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    character: str
    question: str
    answer: str
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
    """Run the preset `demo` in `workdir`, serve the champion and ask it `question` as a character it never saw.

    If the gate has refused the model, the challenger is asked instead. `on_line` gets the pipeline's output, `note`
    what happens after it.
    """
    config = load_run_config(preset="demo", overrides=overrides)
    profile = CharacterProfile.model_validate(json.loads((_DATA / "character.json").read_text(encoding="utf-8")))
    question = question or (_DATA / "question.txt").read_text(encoding="utf-8").strip()
    with local_services(workdir):
        index = run_pipeline(config, workdir, on_line=on_line)
        run = ReportInputs.model_validate(index.stats["run"])
        alias = "champion" if run.decision and run.decision["passed"] else "challenger"
        address = f"models:/{config.registry.model_name}@{alias}"
        model = resolve(address)
        note(f"serving {address} …")
        stop_servers(workdir / SERVERS_FOLDER)  # the pipeline's, which would only compete with the served model
        with serve(localize_model(model.uri), model.name, max_model_len=config.deploy.max_model_len) as endpoint:
            answer = "".join(Conversation(profile, url=endpoint.url, model=model.name).ask(question))
    served = ServedAnswer(profile=profile, question=question, answer=answer, model=address)
    report = make_report(run.model_copy(update={"served": served}), workspace=Workspace(workdir / "workspace"))
    return DemoResult(profile.name, question, answer, model, alias, report.file(REPORT_FILE))
