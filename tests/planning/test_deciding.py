"""A run whose gate could never decide is refused before anything is made."""

from pathlib import Path

import pytest
from support.small_suite import ITEMS, write_suite

from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.planning.deciding import require_deciding


def run_with(suite: Path, *more: str) -> RunConfig:
    engine = "engines.judge={model: judge, base_url: 'https://judge.invalid/v1'}"
    measured = [f"evaluate.suites=[grid, {suite}]", "evaluate.judges=[judge]", engine]
    return load_run_config(preset="demo", overrides=[*measured, "gate={primary: {suite: small, metric: judge}}", *more])


def test_a_primary_of_few_characters_is_refused_and_one_of_many_is_not(tmp_path: Path) -> None:
    few = write_suite(tmp_path / "few")
    with pytest.raises(UserError, match=r"gate\.primary\.suite: 'small' has 2 characters or sessions; .* needs 20"):
        require_deciding(run_with(few))
    require_deciding(run_with(few, "gate.min_clusters=2"))
    items = [{key: value for key, value in item.items() if key != "character_id"} for item in ITEMS[:1]]
    many = [item | {"id": f"i{n}", "character": f"Keeper {n}."} for n in range(20) for item in items]
    require_deciding(run_with(write_suite(tmp_path / "many", items=many)))
    require_deciding(load_run_config(preset="final"))
