"""Writing the report: one HTML file that needs nothing beside it, not even a network."""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opencharacter.characters.profile import ATTRIBUTES
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.reporting import charts, formats
from opencharacter.reporting.counted import NameCounter, answer_counts
from opencharacter.reporting.inputs import ReportInputs
from opencharacter.reporting.pages import render, write_page
from opencharacter.reporting.quality import quality_view
from opencharacter.reporting.samples import answer_lengths, pick_samples
from opencharacter.reporting.scores import describe_decision, headline_losses, sample_answers, score_view
from opencharacter.reporting.sections import (
    Stage,
    data_view,
    models_used,
    registered_facts,
    stage_table,
    total_usage,
    training_view,
)
from opencharacter.reporting.verdicts import MIN_CLUSTERS
from opencharacter.storage.kinds import CHARACTERS, REPORT
from opencharacter.storage.workspace import Artifact, Workspace

_CHARACTERS_SHOWN = 48
_SAMPLES_SHOWN = 6


def write_report(run: ReportInputs, path: Path) -> Path:
    """Write the report of a run, whole or partial, to `path` and return it. An older file is replaced at once."""
    return write_page(render("report.html.j2", **_view(run)), path)


def _view(run: ReportInputs) -> dict[str, Any]:
    characters = CHARACTERS.read(run.characters)
    shown = list(itertools.islice(characters, _CHARACTERS_SHOWN))
    names: dict[str, str] = {}
    first_names = NameCounter()
    for character in itertools.chain(shown, characters):
        names[character.id] = character.label
        first_names.add(character)
    teachers = {
        character.provenance.model for character in shown if character.provenance and character.provenance.model
    }
    stages = stage_table(run.stages(), run.shards)
    lengths = answer_lengths(run.dialogues) if run.dialogues else {}
    return {
        "run": run,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "library": fingerprint(),
        "models": models_used(run, teachers),
        "attributes": ATTRIBUTES,
        "characters": shown,
        "shown": {character.id for character in shown},
        "names": names,
        "first_names": first_names.dump(),
        "shared": run.characters.stats.get("shared_with_example"),
        "answer_counts": answer_counts(run.dialogues) if run.dialogues else [],
        "stages": stages,
        "facts": _facts(run, stages),
        "samples": pick_samples(run.dialogues, run.sessions, limit=_SAMPLES_SHOWN) if run.dialogues else [],
        "quality": quality_view(run.characters, run.dialogues, run.sessions) if run.dialogues else None,
        "lengths_chart": charts.length_histogram(lengths) if lengths else None,
        "training": training_view(run.model) if run.model else None,
        "min_clusters": MIN_CLUSTERS,
        "scores": score_view(run.evaluation) if run.evaluation else None,
        "answers": sample_answers(run.evaluation) if run.evaluation else [],
        "decision": describe_decision(run.decision) if run.decision else None,
        "data": data_view(run.mixture) if run.mixture else None,
        "identity": registered_facts(run.registered) if run.registered else [],
    }


def _facts(run: ReportInputs, stages: list[Stage]) -> list[tuple[str, str]]:
    """The figures at the top of the page, as label and value."""
    usage = total_usage(stages)
    losses = headline_losses(run.evaluation) if run.evaluation else None
    facts = [
        ("characters", formats.number(run.characters.counts.get("ok"))),
        ("dialogues", formats.number(run.dialogues.counts.get("ok")) if run.dialogues else None),
        ("held-out loss", f"{formats.number(losses[0])}\u2009→\u2009{formats.number(losses[1])}" if losses else None),
        ("LLM calls", formats.number(usage.calls)),
        ("tokens in and out", formats.number(usage.prompt_tokens + usage.completion_tokens)),
        ("time of all stages", formats.duration(sum(stage.wall_s or 0.0 for stage in stages))),
        ("model version", str(run.registered["version"]) if run.registered else None),
    ]
    return [(label, value) for label, value in facts if value is not None]


def make_report(run: ReportInputs, *, workspace: Workspace) -> Artifact:
    """Write the report of a run (kind `report`, file `report.html`); its stats hold the inputs, under `run`."""
    inputs = run.model_dump(mode="json")
    key = digest({"step": "report", "run": inputs, "library": fingerprint()})
    if found := workspace.lookup("report", key):
        return found
    with workspace.create("report", key) as draft:
        write_report(run, draft.path / REPORT.name)
        draft.stats = {"run": inputs}
    return draft.committed()
