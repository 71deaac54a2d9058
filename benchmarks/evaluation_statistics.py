"""Time and memory of the statistics: summary and gate over three models.

    python benchmarks/evaluation_statistics.py [--items 10000]

The items are those of PersonaGym (200 characters, five tasks); each model has one answer and one judge. The rows are
written and read as a run does it. The aim is 10 s and 1 GB.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from opencharacter.evaluation import GateConfig, gate
from opencharacter.evaluation.summary import summarise
from opencharacter.records.evaluation import ScoreRow, Scoring
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.kinds import SCORES, SUMMARY
from opencharacter.storage.workspace import Workspace

_CHARACTERS = 200
_TASKS = ("expected_action", "toxicity_control", "linguistic_habits", "persona_consistency", "action_justification")
_MODELS = {"base": "digest-of-base", "challenger": "digest-of-challenger", "champion": "digest-of-champion"}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    items = parser.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        with workspace.create("evaluation", "benchmark") as draft:
            SCORES.write(draft.path, make_rows(items))
            began = time.process_time()
            rows = list(read_models(draft.path / SCORES.name, ScoreRow))
            summary = summarise(rows, _MODELS, Scoring(scales={}, pairs=False, clusters=("character_id",)))
            summarised = time.process_time()
            SUMMARY.write(draft.path, summary.model_copy(update={"suite": "personagym"}))
        decision_began = time.process_time()
        decision = gate(GateConfig(), draft.committed())
        ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{items} items x {len(_MODELS)} models, {len(rows)} rows")
    print(f"  summary   {summarised - began:6.2f} s of CPU")
    print(f"  gate      {ended - decision_began:6.2f} s of CPU  {decision.outcome}: {decision.reason}")
    print(f"  memory    {peak:6.0f} MB at most")


def make_rows(items: int) -> Iterator[ScoreRow]:
    """Scores of three models on the same items."""
    draw = random.Random(0)
    gains = {"base": -0.2, "challenger": 0.05, "champion": 0.0}
    for place in range(items):
        for name, identity in _MODELS.items():
            yield ScoreRow(
                suite="personagym",
                question_id=f"item-{place}",
                character_id=f"character-{place % _CHARACTERS}",
                session_id=f"item-{place}",
                cell=None,
                model=identity,
                metric=_TASKS[place // _CHARACTERS % len(_TASKS)],
                judge="digest-of-judge",
                status="ok",
                score=min(5.0, max(1.0, 4.0 + gains[name] + draw.gauss(0, 0.5))),
            )


if __name__ == "__main__":
    main()
