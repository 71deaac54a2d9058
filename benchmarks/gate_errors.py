"""How often the gate promotes a challenger that is no better: before (release 0.1) and now.

    python benchmarks/gate_errors.py [--draws 2000] [--only NAME ...]

Each design is drawn many times with two equal models. Before: a 95 % percentile bootstrap over questions, R and G rows
counted separately. Now: the gate's own estimate, cluster-robust and two-way on the grid. Nominal is 2.5 % on one side.
The power is the share of draws in which an effect as large as the printed smallest one is shown. At last ten equal
challengers are tried on the same questions, without and with the ledger.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from opencharacter.evaluation.comparison import Sample
from opencharacter.evaluation.ledger import share_of_alpha
from opencharacter.records.evaluation import Scoring

ALPHA = 0.025
MIN_CLUSTERS = 20
_PAIR_CORRELATION = 0.3
"""Of what R and G make of one pair of character and session, beside what character and session share."""


@dataclass(frozen=True)
class Design:
    """Questions of characters and sessions, and how much of the variance these share."""

    name: str
    character: np.ndarray
    session: np.ndarray
    cell: np.ndarray
    of_character: float
    of_session: float = 0.0
    rows_per_pair: int = 1

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Differences of two equal models by pair and row; their variance is 1."""
        shape = (len(self.character), self.rows_per_pair)
        shared = self._effects(generator, self.character, self.of_character)
        shared += self._effects(generator, self.session, self.of_session)
        rest = 1 - self.of_character - self.of_session
        together = _PAIR_CORRELATION * rest if self.rows_per_pair > 1 else 0.0
        shared += generator.normal(0, together**0.5, shape[0])
        return shared[:, None] + generator.normal(0, (rest - together) ** 0.5, shape)

    def sample(self) -> Sample:
        """The sample that the gate would see, without values."""
        count = len(self.character)
        two_way = self.of_session > 0
        zeros = np.zeros(count)
        return Sample(
            scoring=Scoring(clusters=("character_id", "session_id") if two_way else ("character_id",)),
            question=np.arange(count),
            task=np.zeros(count, dtype=int),
            cell=self.cell,
            unit=self.character,
            clusters=(self.character, self.session) if two_way else (self.character,),
            value=zeros,
            low=zeros,
            high=zeros,
            measured=np.ones(count, dtype=int),
            lost=np.zeros(count, dtype=int),
        )

    def _effects(self, generator: np.random.Generator, labels: np.ndarray, share: float) -> np.ndarray:
        return generator.normal(0, share**0.5, int(labels.max()) + 1)[labels]


@dataclass(frozen=True)
class Rates:
    """Shares of the draws; none where the gate does not decide."""

    false: float | None
    power: float | None
    clusters: int


def nested(characters: int, questions: int, icc: float) -> Design:
    """Characters with questions of their own."""
    name = f"{characters} characters x {questions}" + (f", ICC {icc:.2f}" if icc else "")
    count = characters * questions
    character = np.repeat(np.arange(characters), questions)
    return Design(name, character, np.arange(count), np.zeros(count, dtype=int), icc)


def grid(
    characters: int, sessions: int, icc: float, *, held_out: float = 0.1, cast: int = 3, per_cell: int | None = None
) -> Design:
    """The split grid: each session is played by a cast; some characters and sessions are held out."""
    generator = np.random.default_rng([characters, sessions])
    session = np.repeat(np.arange(sessions), cast)
    character = np.concatenate([generator.choice(characters, cast, replace=False) for _ in range(sessions)])
    cell = (character < held_out * characters) * 2 + (session < held_out * sessions)
    kept = np.flatnonzero(cell)
    if per_cell:
        drawn = [generator.permutation(np.flatnonzero(cell == one))[:per_cell] for one in (1, 2, 3)]
        kept = np.sort(np.concatenate(drawn))
    name = f"grid of {characters} x {sessions}, ICC {icc:.2f}"
    name += f", {per_cell} a cell" if per_cell else f", {held_out:.0%} held out"
    return Design(name, character[kept], session[kept], cell[kept], icc, icc, 2)


def designs() -> list[Design]:
    """The designs of the table in docs/promote.md."""
    return [
        nested(300, 1, 0.0),
        nested(10, 1, 0.0),
        nested(40, 10, 0.05),
        nested(40, 10, 0.20),
        nested(10, 30, 0.20),
        nested(5, 60, 0.20),
        nested(40, 50, 0.05),
        grid(12, 30, 0.10),
        grid(100, 300, 0.10),
        grid(100, 300, 0.10, held_out=0.25),
        grid(100, 300, 0.03, held_out=0.25),
        grid(1000, 5000, 0.10),
        grid(1000, 5000, 0.10, per_cell=500),
    ]


def rates(design: Design, draws: int, seed: int = 0) -> Rates:
    """How often the gate's primary is shown for two equal models, and for its own smallest effect."""
    generator = np.random.default_rng(seed)
    sample = design.sample()
    first = estimate_of(sample, design.draw(generator).mean(axis=1))
    if first.clusters < MIN_CLUSTERS:
        return Rates(None, None, first.clusters)
    estimates = [estimate_of(sample, design.draw(generator).mean(axis=1)) for _ in range(draws)]
    lows = [interval[0] for one in estimates if (interval := one.interval(1 - 2 * ALPHA)) is not None]
    printed = float(np.median([one.smallest_effect(ALPHA) or np.inf for one in estimates]))
    return Rates(float(np.mean(np.array(lows) > 0)), float(np.mean(np.array(lows) + printed > 0)), first.clusters)


def rate_before(design: Design, draws: int, seed: int = 0, resamples: int = 1000) -> float:
    """How often the gate of release 0.1 promotes one of two equal models."""
    generator = np.random.default_rng(seed)
    return float(np.mean([_low_before(design.draw(generator).ravel(), generator, resamples) > 0 for _ in range(draws)]))


def repeated_tries(
    tries: int, families: int, level: Callable[[int], float], *, characters: int = 40, seed: int = 0
) -> float:
    """How often at least one of several equal challengers is shown to beat the same champion on the same questions."""
    generator = np.random.default_rng(seed)
    design = nested(characters, 10, 0.05)
    sample = design.sample()
    promoted = 0
    for _ in range(families):
        champion = design.draw(generator)[:, 0]
        for position in range(1, tries + 1):
            interval = estimate_of(sample, design.draw(generator)[:, 0] - champion).interval(1 - 2 * level(position))
            if interval is not None and interval[0] > 0:
                promoted += 1
                break
    return promoted / families


def estimate_of(sample: Sample, values: np.ndarray):  # type: ignore[no-untyped-def]
    """The gate's estimate of these differences."""
    return dataclasses.replace(sample, value=values).estimate()


def _low_before(values: np.ndarray, generator: np.random.Generator, resamples: int) -> float:
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), (block, len(values)))].mean(axis=1)
            for block in _blocks(resamples, max(1, (1 << 22) // len(values)))
        ]
    )
    return float(np.quantile(means, ALPHA))


def _blocks(total: int, size: int) -> Sequence[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="draws of each design")
    parser.add_argument("--only", nargs="*", help="designs whose name holds one of these texts")
    arguments = parser.parse_args()
    chosen = [one for one in designs() if not arguments.only or any(text in one.name for text in arguments.only)]
    print(f"{'two equal models, promoted in % of draws':46s}  before     now   power at the MDE   clusters")
    for design in chosen:
        found = rates(design, arguments.draws)
        size = len(design.character) * design.rows_per_pair
        before = rate_before(design, min(arguments.draws, max(200, 40_000_000 // (size * 100))))
        now = "undecidable        " if found.false is None else f"{found.false:6.1%}   {found.power:16.0%}"
        print(f"{design.name:46s}  {before:6.1%}  {now:>26s}   {found.clusters:8d}", flush=True)
    families = max(200, arguments.draws // 5)
    for name, level in (("without ledger", lambda _: ALPHA), ("with ledger", lambda k: share_of_alpha(ALPHA, k))):
        print(f"{f'ten equal challengers, {name}':46s}          {repeated_tries(10, families, level):6.1%}")


if __name__ == "__main__":
    main()
