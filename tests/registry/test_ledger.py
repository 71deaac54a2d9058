from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

from opencharacter.evaluation.ledger import Ledger
from opencharacter.registry import ComparisonLedger


def count(ledger: Ledger, comparison: str, items: str = "i1", rival: str = "champion-1") -> int:
    return ledger.count(items, rival, comparison, {"suite": "frozen"})


def test_each_comparison_counts_once_and_a_repeated_one_keeps_its_number(registry) -> None:
    ledger = ComparisonLedger(registry)
    assert [count(ledger, name) for name in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 2]
    assert count(ComparisonLedger(registry), "a") == 1


def test_other_items_and_another_champion_begin_at_one(registry) -> None:
    ledger = ComparisonLedger(registry)
    assert [count(ledger, "a", items="i2"), count(ledger, "b", items="i2", rival="champion-2")] == [1, 1]
    assert count(ledger, "b", items="i3") == 1


def test_a_deleted_run_still_counts(registry) -> None:
    ledger = ComparisonLedger(registry)
    count(ledger, "a", items="i4")
    client = MlflowClient()
    experiment = client.get_experiment_by_name(f"{registry.experiment}-comparisons").experiment_id
    for run in client.search_runs([experiment], "tags.items_digest = 'i4'"):
        client.delete_run(run.info.run_id)
    assert [count(ledger, "b", items="i4"), count(ledger, "a", items="i4")] == [2, 1]


def test_comparisons_at_once_get_no_smaller_numbers_than_one_after_the_other(registry) -> None:
    ledger = ComparisonLedger(registry)
    count(ledger, "first", items="i5")
    with ThreadPoolExecutor(4) as pool:
        numbers = sorted(pool.map(lambda name: count(ledger, name, items="i5"), ["w", "x", "y", "z"]))
    assert all(number >= place for place, number in enumerate(numbers, start=2))
    assert numbers[-1] == 5
