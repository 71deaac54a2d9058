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


def test_each_old_key_has_one_line_that_names_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "inputs.release.limit=5", "--set", "mix.general.0.licence=MIT"]
    with pytest.raises(SystemExit) as ended:
        main(["config", "show", "--config", str(KEYS / "release.yaml"), *changes])
    shown = capsys.readouterr()
    assert ended.value.code == 0
    assert yaml.safe_load(shown.out)["inputs"]["dataset"]["limit"] == 5
    assert yaml.safe_load(shown.out)["mix"]["general"][0]["license"] == "MIT"
    notes = shown.err.splitlines()
    file = KEYS / "release.yaml"
    assert sorted(notes) == sorted(
        [
            f"note: {file}: 'release' is now 'dataset'",
            f"note: {file}: 'licence' is now 'license'",
            "note: --set: 'release' is now 'dataset'",
            "note: --set: 'licence' is now 'license'",
        ]
    )


def test_an_old_and_a_new_key_side_by_side_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (KEYS / "release.yaml").read_text().replace("  release:\n", "  dataset: {}\n  release:\n")
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["config", "validate", "--config", str(tmp_path / "run.yaml")])
    assert ended.value.code == 2
    assert "run.yaml:5: the key 'dataset' is there already, at line 4" in capsys.readouterr().err
