"""`opencharacter plan` as a person and as a program meet it."""

import json
from pathlib import Path

import pytest

from opencharacter.cli import main
from opencharacter.planning import Plan, shipped_text

PROFILE = "name: lab\nsteps:\n  sft:\n    accelerator: {count: 4}\n"


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["plan", *arguments])
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


def test_the_demo_is_shown_stage_by_stage(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--preset", "demo", capsys=capsys)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["generate-profiles"][1:3] == ["28", "28"]
    assert rows["generate-dialogues"][1] == "104"
    for told in ("Inputs", "Storage", "Assumed", "answer_tokens", "no cluster"):
        assert told in out
    assert "Without a price" not in out, "the demo pays nobody"


def test_json_is_the_whole_plan(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--preset", "final", "--set", "shards=2", "--json", capsys=capsys)
    assert code == 0
    made = Plan.model_validate(json.loads(out))
    assert made.name == "final"
    pods = {stage.step: stage.where.pods for stage in made.stages}
    assert pods.pop("evaluate") == 4, "a pod for each suite"
    assert max(pods.values()) == 2


def test_a_profile_s_lacks_name_their_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(PROFILE)
    code, out, _ = run("--preset", "final", "--cluster", str(path), capsys=capsys)
    assert code == 0, "a plan tells; compile refuses"
    assert "cannot run  steps.sft.accelerator.count" in out


def test_own_prices_give_a_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\ngpus: {H100: {price_per_hour: 2}}\n")
    unjudged = ("--set", "evaluate.judge=null", "--set", "gate.primary=null")
    code, out, _ = run("--preset", "final", "--prices", str(prices), *unjudged, capsys=capsys)
    assert code == 0
    assert "EUR" in out
    assert "no price" not in out


def test_a_narrow_terminal_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from opencharacter.config.loading import load_run_config
    from opencharacter.planning import load_figures, make_plan, show_plan

    show_plan(make_plan(load_run_config(preset="final"), None, load_figures()), Console(width=80))
    out = capsys.readouterr().out
    assert "…" not in out
    assert "  generate-dialogues: synthesis: 8 x 4 H100, Meta-Llama-3-70B-Instruct" in out


def test_the_shipped_prices_are_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show-prices", capsys=capsys)[:2] == (0, shipped_text())


@pytest.mark.parametrize(
    ("text", "told"),
    [("gpus: {H100: {price_per_hour: cheap}}\n", "prices.yaml:1: gpus.H100.price_per_hour"), ("price: 3\n", "price")],
)
def test_bad_prices_are_refused(tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(text)
    code, out, err = run("--preset", "demo", "--prices", str(prices), capsys=capsys)
    assert (code, out) == (2, "")
    assert told in err


def test_an_unknown_profile_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("--preset", "demo", "--cluster", "moonbase", capsys=capsys)
    assert code == 2
    assert "moonbase" in err
