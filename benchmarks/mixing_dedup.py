"""Near-duplicate removal: the MinHash index against comparing all pairs.

    python benchmarks/mixing_dedup.py [--texts 20000]

First personas: one group of `--texts`, 5 % of them duplicates of another. Comparing all pairs of 20,000 takes many
minutes, so it is timed on `--sample` texts, each against all texts before it, and scaled up to all. Then groups of one
character's answers, whose sizes show up to where all pairs cost less than the index (`similarity.ALL_PAIRS`).
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable

from opencharacter.similarity import ALL_PAIRS, are_similar, near_duplicates, shingles

_TWINS = 0.05
_VOCABULARY = 20_000
_ANSWER_WORDS = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000, help="personas in the one group")
    parser.add_argument("--sample", type=int, default=500, help="texts that all pairs are timed on")
    arguments = parser.parse_args()
    compare_one_group(arguments.texts, arguments.sample)
    compare_group_sizes()


def compare_one_group(count: int, sample: int) -> None:
    texts = make_texts(count, words=20)
    by_index, index_s = timed(lambda: near_duplicates(texts, 0.8, index_above=0).keys())
    sampled = random.Random(0).sample(range(count), min(sample, count))
    every = [shingles(text) for text in texts]
    by_pairs, sample_s = timed(lambda: with_earlier_twin(every, sampled, 0.8))
    pairs_s = sample_s * count / len(sampled)
    print(f"personas: {count} texts of 20 words, threshold 0.8")
    print(f"  index      {index_s:8.1f} s  {len(by_index)} removed")
    print(f"  all pairs  {pairs_s:8.1f} s  from {len(sampled)} texts in {sample_s:.1f} s")
    print(f"  ratio      {pairs_s / index_s:8.1f}")
    print(f"  of {len(by_pairs)} duplicates in the sample the index missed {len(by_pairs - by_index)}")


def compare_group_sizes() -> None:
    print(f"answers of one character: {_ANSWER_WORDS} words, threshold 0.85; all pairs are compared up to {ALL_PAIRS}")
    print("  answers  all pairs, ms  index, ms")
    for size in (8, 16, 32, 64, 128, 256):
        texts = make_texts(size, words=_ANSWER_WORDS)
        _, pairs_s = timed(lambda: near_duplicates(texts, 0.85, index_above=size))  # noqa: B023
        _, index_s = timed(lambda: near_duplicates(texts, 0.85, index_above=0))  # noqa: B023
        print(f"  {size:7d}  {1000 * pairs_s:13.0f}  {1000 * index_s:9.0f}")


def with_earlier_twin(every: list[frozenset[str]], sampled: list[int], threshold: float) -> set[int]:
    """The straightforward way: compare a text with every text before it."""
    return {
        place for place in sampled if any(are_similar(every[place], every[other], threshold) for other in range(place))
    }


def make_texts(count: int, *, words: int) -> list[str]:
    """Texts of made-up words with a natural spread of frequencies; some are another with one word changed."""
    draw = random.Random(count)
    vocabulary = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(_VOCABULARY)]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    texts = [draw.choices(vocabulary, weights, k=words) for _ in range(count - round(count * _TWINS))]
    for original in draw.sample(texts, count - len(texts)):
        duplicate = list(original)
        duplicate[draw.randrange(words)] = draw.choice(vocabulary)
        texts.append(duplicate)
    draw.shuffle(texts)
    return [" ".join(text) for text in texts]


def timed(work: Callable[[], Iterable[int]]) -> tuple[set[int], float]:
    started = time.perf_counter()
    result = work()
    return set(result), time.perf_counter() - started


if __name__ == "__main__":
    main()
