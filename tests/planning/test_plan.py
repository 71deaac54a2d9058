"""The plan's counts: those of a real run, those of the paper, and how they hang together."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_llm import FakeLLM

from opencharacter.config.loading import load_run_config, presets
from opencharacter.config.run import RunConfig
from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.planning import Plan, load_figures, make_plan
from opencharacter.planning.plan import Stage
from opencharacter.records.models import DialogueRow
from opencharacter.storage import read_models
from opencharacter.storage.workspace import Workspace
from opencharacter.synthesis import (
    collect_dialogues,
    collect_profiles,
    ingest,
    synthesise_profiles,
    synthesise_responses,
)

FIGURES = load_figures()


def plan(preset: str = "final", *overrides: str) -> Plan:
    return make_plan(load_run_config(preset=preset, overrides=overrides), None, FIGURES)


def stages(made: Plan) -> dict[str, Stage]:
    return {stage.step: stage for stage in made.stages}


def synthesise(config: RunConfig, url: str, root: Path) -> list[DialogueRow]:
    """The synthesis steps of a run, on a fake teacher."""
    workspace = Workspace(root)
    engines = {
        name: EngineConfig(model=engine.model, base_url=url, max_retries=0) for name, engine in config.engines.items()
    }
    read = ingest(config.inputs, workspace=workspace, seed=config.seed)
    teacher, common = engines[config.profiles.teacher], {"workspace": workspace, "seed": config.seed}
    synthesise_profiles(config.profiles, teacher, read.personas, **common)
    characters = collect_profiles(config.profiles, teacher, read.personas, **common)
    scenes: tuple[Any, ...] = (config.responses, config.inputs.corpora, engines, read.sessions, characters)
    synthesise_responses(*scenes, **common)
    dialogues = collect_dialogues(*scenes, **common)
    return list(read_models(dialogues.path / "dialogues.jsonl.zst", DialogueRow))


def test_the_demo_s_calls_are_those_that_a_server_counts(tmp_path: Path, fake_llm: FakeLLM) -> None:
    # Longer answers than the demo's, since the fake's are not cut at whole sentences.
    overrides = ["profiles.sampling.max_tokens=2000", "responses.rewrite_sampling.max_tokens=2000"]
    overrides.append("responses.generate_sampling.max_tokens=2000")
    planned = stages(plan("demo", *overrides))
    rows = synthesise(load_run_config(preset="demo", overrides=overrides), fake_llm.base_url, tmp_path)
    assert len(rows) == planned["collect-dialogues"].rows == planned["generate-dialogues"].rows
    assert planned["generate-profiles"].calls + planned["generate-dialogues"].calls == len(fake_llm.calls)
    profile_calls = sum("birth_place" in str(call.request.get("response_format")) for call in fake_llm.calls)
    assert planned["generate-profiles"].calls == profile_calls


def test_the_final_recipe_is_the_paper_s_arithmetic() -> None:
    """arXiv 2501.15427: 102,084 sessions of LIMA, Alpaca and Persona Hub, three of 20,000 characters for each."""
    made = plan("final")
    of = stages(made)
    assert of["collect-profiles"].rows == 20_000
    assert of["collect-dialogues"].rows == 3 * (1_074 + 51_010 + 50_000) == 306_252
    # One call a turn, of which LIMA's sessions have a little more than one.
    assert 306_252 <= of["generate-dialogues"].calls < 307_000
    # 300 to 450 tokens an answer.
    assert 300 <= of["generate-dialogues"].tokens_out / of["generate-dialogues"].calls <= 450
    # 600 to 950 tokens a dialogue, of which the default split trains on 0.95 x 0.95.
    trained = of["sft"].trained_tokens / 0.95**2
    assert 600 * 306_252 <= trained <= 950 * 306_252
    assert of["sft"].rows == round(306_252 * 0.95**2)
    # 8 GPUs at 5.8 to 8.5 thousand tokens a second; 29 to 43 GPU-hours of synthesis with a 70B model.
    assert 0.75 <= of["sft"].hours <= 1.75
    assert of["sft"].gpu_hours == pytest.approx(8 * of["sft"].hours)
    assert 29 <= of["generate-dialogues"].gpu_hours <= 43
    # "About one day of one 8-GPU node."
    assert made.totals.gpu_hours < 24 * 8


@pytest.mark.parametrize("preset", ["a1", "a2"])
def test_r_asks_once_a_session_and_needs_answers(preset: str) -> None:
    of = stages(plan(preset))
    assert of["generate-dialogues"].calls == of["generate-dialogues"].rows == 3 * (1_074 + 51_010)
    instructions = "inputs.corpora.1.uri=hf://proj-persona/PersonaHub/instruction.jsonl"
    assert stages(plan(preset, instructions))["generate-dialogues"].rows == 3 * 1_074


@pytest.mark.parametrize("preset", presets())
def test_totals_are_sums_and_the_plan_survives_json(preset: str) -> None:
    made = plan(preset)
    for name in ("calls", "calls_at_most", "tokens_in", "tokens_out", "hours", "gpu_hours"):
        assert getattr(made.totals, name) == pytest.approx(sum(getattr(stage, name) for stage in made.stages))
    assert made.totals.calls_at_most >= made.totals.calls
    assert Plan.model_validate_json(made.model_dump_json()) == made


@settings(max_examples=15)
@given(
    n=st.integers(1, 40),
    more=st.integers(0, 40),
    strategies=st.sampled_from(["[R]", "[G]", "[R, G]"]),
    held_out=st.floats(0, 0.9),
    weight=st.floats(0.1, 3),
)
def test_more_characters_a_session_never_cost_less(
    n: int, more: int, strategies: str, held_out: float, weight: float
) -> None:
    common = [f"inputs.corpora.0.strategies={strategies}", f"mix.held_out.sessions={held_out}"]
    common += [f"mix.weights.R={weight}", "sft.max_steps=null"]
    few, many = (stages(plan("demo", f"inputs.corpora.0.n={count}", *common)) for count in (n, n + more))
    # The demo has 28 characters and 26 sessions, all of them answered.
    ways = strategies.count("R") + strategies.count("G")
    assert few["generate-dialogues"].rows == 26 * ways * min(n, 28)
    for step in few:
        for name in ("rows", "calls", "tokens_in", "tokens_out", "trained_tokens", "optimizer_steps", "hours"):
            # Means are sums of floats, whose last digits differ.
            assert (getattr(many[step], name) or 0) >= (getattr(few[step], name) or 0) * (1 - 1e-9), (step, name)


def test_steps_are_those_of_the_trainer() -> None:
    # 67 rows in batches of 4, over two processes that take 2 rows each.
    assert stages(plan("demo", "sft.max_steps=null"))["sft"].optimizer_steps == math.ceil(67 / 4)
    two = ["sft.max_steps=null", "sft.epochs=2.5", "sft.processes=2", "sft.per_device_batch_size=2"]
    assert stages(plan("demo", *two))["sft"].optimizer_steps == math.ceil(2.5 * 17)
    assert stages(plan("demo"))["sft"].optimizer_steps == 12


def test_a_quality_judge_is_called_for_each_dialogue_and_three_times_at_the_most() -> None:
    made = stages(plan("demo", "quality.engine=teacher"))
    judged, dialogues = made["judge-dialogues"], made["collect-dialogues"].rows
    assert (judged.rows, judged.calls, judged.calls_at_most) == (dialogues, dialogues, 3 * dialogues)
    once = stages(plan("demo", "quality.engine=teacher", "quality.repair=false"))["judge-dialogues"]
    assert (once.calls_at_most, once.tokens_in) == (dialogues, judged.tokens_in)
    longer = stages(plan("demo", "quality.engine=teacher", f"quality.rubric={'word ' * 500}"))["judge-dialogues"]
    assert longer.tokens_in > judged.tokens_in + 300 * dialogues
    assert "judge-dialogues" not in stages(plan("demo"))


def test_evaluation_counts_questions_answers_and_judgements() -> None:
    of = stages(plan("demo"))
    # 10 rows of each held-out cell, but 4 in the smallest, and 4 of the train cell.
    assert of["evaluate"].rows == 10 + 10 + 4 + 4
    # 2 questions a cell, 2 models, each answer judged on 5 aspects.
    assert of["evaluate"].calls == 3 * 2 * 2 * (1 + 5)
    unjudged = stages(plan("demo", "evaluate.suites=[grid, {suite: frozen, first: 1, judges: []}]"))["evaluate"]
    # An item of each frozen character; the answers are not asked for.
    assert (unjudged.rows, unjudged.calls) == (28 + 44, 72)
    judged = stages(plan("demo", "evaluate.suites=[grid, frozen]"))["evaluate"]
    # All 132 frozen items, each judged on 4 aspects; and 20 answers, each with 6 canaries.
    assert (judged.rows, judged.calls) == (28 + 132, 72 + 132 * 2 * (1 + 4) + 20 * (1 + 6))
    # What a judge says may be asked for three times.
    assert judged.calls_at_most == judged.calls + 2 * (60 + 132 * 2 * 4 + 20 * 7)
    # Each scene is answered turn by turn, and each turn is judged on its own.
    scenes = stages(plan("demo", "evaluate.suites=[grid, scenes]"))["evaluate"]
    assert (scenes.rows, scenes.calls) == (28 + 22, 72 + 2 * 240 + 1100)
    # 100 questions of a cell, and canaries for characters enough.
    assert (
        stages(plan("a1", "evaluate.suites=[grid]", "gate={metric: judge}"))["evaluate"].calls
        == 3 * 100 * 2 * (1 + 5) + 20 * 7
    )
    assert stages(plan("demo", "evaluate.judge=null"))["evaluate"].calls == 0


def test_attempts_bound_the_calls() -> None:
    of = stages(plan("demo", "profiles.attempts=4", "responses.attempts=2"))
    assert of["generate-profiles"].calls_at_most == 28 * 4 * 2, "each attempt may be repaired once"
    assert of["generate-dialogues"].calls_at_most == 2 * of["generate-dialogues"].calls


def test_weights_and_general_instructions_enter_training(tmp_path: Path) -> None:
    general = tmp_path / "general.jsonl"
    general.write_text('{"instruction": "Name a colour.", "output": "Red."}\n' * 3 + '{"instruction": "And?"}\n')
    source = f"mix.general=[{{name: own, uri: {general}, license: MIT, weight: 10}}]"
    base = ["mix.held_out={characters: 0, sessions: 0}", "sft.max_steps=null"]
    assert stages(plan("demo", *base))["sft"].rows == 104
    assert stages(plan("demo", *base, "mix.weights={R: 2, G: 0}"))["sft"].rows == 104
    made = plan("demo", *base, source, "mix.max_bad_share=0.5")
    assert stages(made)["sft"].rows == 104 + 10
    assert [(count.rows, count.duplicates, count.bad) for count in made.inputs[2:]] == [(1, 2, 1)]


def test_a_release_is_counted_in_place_of_synthesis() -> None:
    hub = "hf://xywang1/OpenCharacter/synthetic_"
    release = f"inputs={{dataset: {{characters: {hub}character.jsonl, dialogues: {hub}dialogue.jsonl}}}}"
    made = plan("final", release)
    assert stages(made)["import-dataset"].rows == 306_140
    assert "generate-dialogues" not in stages(made)
    assert not any(count.read for count in made.inputs)


def test_characters_are_counted_in_place_of_profile_synthesis(tmp_path: Path) -> None:
    config = load_run_config(preset="final")
    corpora = [corpus.model_dump(mode="json", exclude_none=True) for corpus in config.inputs.corpora]
    hub = "hf://xywang1/OpenCharacter/synthetic_character.jsonl"
    made = stages(plan("final", f"inputs={json.dumps({'characters': {'uri': hub}, 'corpora': corpora})}"))
    usual = stages(plan("final"))
    assert made["import-characters"].rows == 20_000
    assert not made.keys() & {"generate-profiles", "collect-profiles"}
    assert made["ingest"].rows == usual["ingest"].rows - 20_000
    assert made["generate-dialogues"].calls == usual["generate-dialogues"].calls
    cast = tmp_path / "cast.jsonl"
    cast.write_text('{"name": "Ada", "personality": "Dry."}\n{"name": "Bo", "age": 40}\n{"hobby": "chess"}\n')
    own = {"uri": str(cast), "license": "MIT"}
    found = plan("final", f"inputs={json.dumps({'characters': own, 'corpora': corpora, 'max_bad_share': 0.5})}")
    assert [(count.key, count.rows, count.bad) for count in found.inputs if count.what == "characters"] == [
        ("inputs.characters", 2, 1)
    ]


def test_data_that_cannot_be_trained_on_are_told(tmp_path: Path) -> None:
    unanswered = tmp_path / "asked.jsonl"
    unanswered.write_text('{"messages": [{"role": "user", "content": "Who are you?"}]}\nno JSON\n')
    source = [f"inputs.corpora.0.uri={unanswered}", "inputs.corpora.0.strategies=[R]"]
    with pytest.raises(
        UserError, match=r"inputs\.corpora\.0: .*1 of 2 rows are bad.*\n.*asked\.jsonl:2: not valid JSON"
    ):
        plan("demo", *source)
    made = plan("demo", *source, "inputs.max_bad_share=0.5")
    assert [issue.subject for issue in made.issues if issue.fatal] == ["run: inputs"]
    assert plan("demo").issues == []


def test_what_was_not_read_is_marked(tmp_path: Path) -> None:
    assert [(count.rows, count.read) for count in plan("final").inputs] == [
        (20_000, False),
        (1_074, False),
        (51_010, False),
        (50_000, False),
    ]
    assert all(count.read for count in plan("demo").inputs)
    limited = plan("demo", "inputs.corpora.0.uri=s3://bucket/own.jsonl", "inputs.corpora.0.limit=70").inputs[1]
    assert (limited.rows, limited.read) == (70, False)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("inputs.corpora.0.uri=s3://bucket/own.jsonl", r"inputs\.corpora\.0: s3://bucket/own\.jsonl is not read"),
        ("inputs.corpora.0.uri=/nowhere.jsonl", r"/nowhere\.jsonl: no such file"),
        ("sft.base_model=mystery", "the size of the model 'mystery' is not known"),
    ],
)
def test_what_cannot_be_planned_says_what_to_give(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan("demo", override)
