"""Configurations as version 0.1.0 had them still mean the same."""

from pathlib import Path

import pytest
import yaml
from support.begun_run import FOLDER

from opencharacter.cli import main

KEYS = FOLDER / "old_keys"
STEPS = yaml.safe_load((KEYS / "cluster.yaml").read_text())["steps"]
SYNTHESIS = {"ingest", "profiles", "characters", "responses", "dialogues"}


@pytest.mark.parametrize(
    ("name", "absent", "licences"),
    [
        ("synthesis", {"release"}, ["personas", "corpus", "general-set"]),
        ("release", SYNTHESIS, ["release", "general-set"]),
    ],
)
def test_old_keys_options_and_step_names_reach_the_pipeline(
    name: str, absent: set[str], licences: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "pipeline.yaml"
    command = ["pipeline", "compile", "--config", str(KEYS / f"{name}.yaml"), "--profile", str(KEYS / "cluster.yaml")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--profile-set", "namespace=other", "--output", str(made)])
    assert ended.value.code == 0
    text = made.read_text()
    placed = {step for step, pod in STEPS.items() if f"resourceCpuRequest: '{pod['cpu']}'" in text}
    assert placed == STEPS.keys() - absent
    assert all(f"licence-of-the-{licence}" in text for licence in licences)
