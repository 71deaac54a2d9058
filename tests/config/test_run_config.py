"""The run configuration: what users type, and what they are told when it is wrong."""

import re
import types
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from opencharacter.config.loading import load_run_config, presets
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError

MINIMAL = """\
name: mine
inputs:
  personas:
    - uri: personas.jsonl
      license: CC0-1.0
  corpora:
    - name: own
      uri: sessions.jsonl
      license: CC0-1.0
      strategies: [G]
engines:
  teacher: {model: m, base_url: "http://localhost:1/v1"}
sft:
  base_model: some/model
"""


@pytest.fixture
def run_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def test_a_minimal_file_is_enough(run_yaml: Path) -> None:
    config = load_run_config(run_yaml)
    assert config.inputs.corpora[0].n == 3, "the paper draws three characters a session"
    assert config.evaluate.judge is None


def test_the_system_prompt_is_part_of_the_run_s_identity_where_it_is_chosen(run_yaml: Path) -> None:
    plain = load_run_config(run_yaml).parameters()["run"]
    paper = load_run_config(run_yaml, overrides=["system_prompt=paper"]).parameters()["run"]
    assert paper == plain | {"system_prompt": "paper"}
    with pytest.raises(UserError, match=r"system_prompt.*'immersive' or 'paper'"):
        load_run_config(run_yaml, overrides=["system_prompt=own"])


CHARACTERS = "inputs.characters={uri: cast.jsonl, license: MIT}"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([CHARACTERS], "give either `personas`, to make characters from, or `characters`, not both"),
        ([CHARACTERS, "inputs.personas=[]", "inputs.corpora=[]"], "`corpora` are needed"),
        (["inputs.personas=[]"], "and `personas` or `characters`; or else `dataset`"),
        (
            [CHARACTERS, "inputs.personas=[]", "inputs.dataset={characters: c.jsonl, dialogues: d.jsonl}"],
            "give no `personas`, `characters` or `corpora` with it",
        ),
    ],
)
def test_inputs_belong_together(run_yaml: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_run_config(run_yaml, overrides=overrides)


def test_a_run_with_characters_needs_no_profile_teacher(run_yaml: Path) -> None:
    overrides = [CHARACTERS, "inputs.personas=[]", "profiles.teacher=nobody"]
    config = load_run_config(run_yaml, overrides=overrides)
    assert config.inputs.characters is not None
    assert load_run_config(run_yaml).inputs.characters is None
    text = MINIMAL.replace(
        "  personas:\n    - uri: personas.jsonl\n      license: CC0-1.0\n", "  characters: {uri: c.zst}\n"
    )
    run_yaml.write_text(text)
    source = load_run_config(run_yaml).inputs.characters
    assert source is not None
    assert source.uri == str(run_yaml.parent / "c.zst")


def test_the_paper_s_recipes_compare_on_one_cast_and_one_system_prompt() -> None:
    """The same personas, teacher, sampling and seed: profile rows have the same addresses in all of them."""
    casts = []
    for preset in sorted(set(presets()) - {"demo"}):
        config = load_run_config(preset=preset)
        assert config.system_prompt == "paper"
        views = config.mix.prompt_views
        assert views["persona"] == views["profile"] == pytest.approx(0.1)
        teacher = config.engines[config.profiles.teacher].model
        casts.append((config.seed, config.inputs.personas, teacher, config.profiles.sampling))
    assert all(cast == casts[0] for cast in casts)


def test_relative_inputs_are_taken_from_the_file_s_folder(run_yaml: Path) -> None:
    config = load_run_config(run_yaml)
    assert config.inputs.personas[0].uri == str(run_yaml.parent / "personas.jsonl")


def test_a_suite_s_folder_is_taken_from_the_file_s_folder(run_yaml: Path) -> None:
    suites = "[grid, ./own, {suite: ../other, first: 2}, s3://bucket/suite, hf://a/b]"
    run_yaml.write_text(run_yaml.read_text() + f"evaluate: {{suites: {suites}}}\n")
    found = [choice.suite for choice in load_run_config(run_yaml).evaluate.choices]
    folder = run_yaml.parent
    assert found == ["grid", str(folder / "own"), str(folder.parent / "other"), "s3://bucket/suite", "hf://a/b"]


@pytest.mark.parametrize(
    ("settings", "judges", "of_grid"),
    [
        ("{judge: {questions_per_cell: 3}}", ["judge"], ("judge", 3)),
        ("{judges: [teacher, judge]}", ["teacher", "judge"], ("teacher", 20)),
        ("{judges: [teacher, judge], judge: {questions_per_cell: 3}}", ["teacher", "judge"], ("teacher", 3)),
        ("{judges: [teacher], judge: {engine: judge}}", ["judge", "teacher"], ("judge", 20)),
        ("{}", [], None),
    ],
)
def test_judges_are_one_list_however_they_are_named(
    settings: str, judges: list[str], of_grid: tuple[str, int] | None
) -> None:
    config = load_run_config(preset="demo", overrides=[f"evaluate={settings}", "gate={}"])
    for read in (config, RunConfig.model_validate(config.model_dump())):
        judge = read.evaluate.judge
        assert (read.evaluate.judges, judge and (judge.engine, judge.questions_per_cell)) == (judges, of_grid)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("{judges: [nobody]}", "no engine 'nobody' under `engines`"),
        ("{suites: []}", "evaluate.suites"),
        ("{suites: [grid, {suite: grid, first: 2}]}", "each one once"),
        ("{judges: [judge], suites: [{suite: frozen, judges: [teacher]}]}", "'teacher' is not one of `judges`"),
        ("{suites: [{first: 2}]}", "evaluate.suites.0"),
    ],
)
def test_suites_and_judges_are_checked(settings: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        load_run_config(preset="demo", overrides=[f"evaluate={settings}"])


@pytest.mark.parametrize(
    ("preset", "changes", "told"),
    [
        ("demo", ["gate.primary.suite=frozen"], "gate.primary.suite: 'frozen' is not one of evaluate.suites: ['grid']"),
        ("final", ["evaluate.judge=null"], "a primary by 'judge' on 'frozen' needs evaluate.judges"),
        ("demo", ["gate={metric: judge}", "evaluate.judge=null"], "a primary by 'judge' on 'grid' needs"),
        ("demo", ["gate.guards.suites.safety=0.1"], "gate.guards.suites.safety: 'safety' is not one of"),
        ("demo", ["gate.metric=loss"], "give `primary` or `metric`, not both"),
    ],
)
def test_a_gate_that_could_not_decide_is_refused(preset: str, changes: list[str], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        load_run_config(preset=preset, overrides=changes)


def test_no_recipe_leaves_its_gate_to_loss_alone_but_the_demo() -> None:
    primaries = {preset: load_run_config(preset=preset).gate.primary for preset in presets()}
    found = {preset: (primary.suite, primary.metric) for preset, primary in primaries.items() if primary}
    assert found.pop("demo") == ("grid", "loss")
    assert found == dict.fromkeys(sorted(set(presets()) - {"demo"}), ("frozen", "judge"))


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("sft.epochs=2", lambda c: c.sft.epochs, 2),
        ("sft.lora.rank=4", lambda c: c.sft.lora.rank, 4),
        ("inputs.corpora.0.strategies=[R, G]", lambda c: c.inputs.corpora[0].strategies, ["R", "G"]),
        ("mix.weights.R=0.5", lambda c: c.mix.weights["R"], 0.5),
        ("evaluate.judge=null", lambda c: c.evaluate.judge, None),
    ],
)
def test_overrides_reach_their_key(override: str, read: typing.Callable[[RunConfig], object], expected: object) -> None:
    assert read(load_run_config(preset="demo", overrides=[override])) == expected


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[G]", "[Q]", "run.yaml:10: inputs.corpora.0.strategies.0"),
        ("base_model: some/model", "base_modle: x", "sft.base_modle: unknown key; did you mean 'base_model'?"),
        ("base_model: some/model", "{}", "run.yaml:13: sft.base_model: is missing"),
        ("  teacher: {", "  other: {", "inputs.corpora.0.teacher: no engine 'teacher' under `engines`"),
        ("name: mine", "name: [", "run.yaml:"),
        ("license: CC0-1.0\n  corpora", "lisence: MIT\n  corpora", "run.yaml:5: inputs.personas.0.lisence"),
    ],
)
def test_a_wrong_file_names_line_and_key(run_yaml: Path, old: str, new: str, told: str) -> None:
    assert old in MINIMAL
    run_yaml.write_text(MINIMAL.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_run_config(run_yaml)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sft.epochs", "expected key=value"),
        ("inputs.corpora.7.n=1", "index from 0 to 0"),
        ("sft.epochs=many", "sft.epochs"),
        ("gate.metric=beauty", "gate.metric"),
    ],
)
def test_a_wrong_override_is_refused(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_run_config(preset="demo", overrides=[override])


def test_a_missing_file_and_an_unknown_preset_say_what_exists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_run_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="a1, a2, a3, a4, a5, demo, final"):
        load_run_config(preset="a9")


def test_a_suite_that_is_to_be_kept_out_must_be_there_before_the_run(tmp_path: Path) -> None:
    config = load_run_config(preset="demo", overrides=[f"mix.frozen_suites=[{tmp_path / 'mine'}]"])
    with pytest.raises(UserError, match=r"mine/suite\.yaml: no such file"):
        config.parameters()
    elsewhere = load_run_config(preset="demo", overrides=["mix.frozen_suites=['s3://bucket/mine']"])
    assert elsewhere.parameters()["mix"]["frozen_suites"] == ["s3://bucket/mine"], "it is read by the step"


@pytest.mark.parametrize("preset", presets())
def test_parameters_lose_nothing(preset: str) -> None:
    """Pipeline parameters hold no null, so the sections must come back the same without them."""
    config = load_run_config(preset=preset)
    parameters = config.parameters()
    restored = RunConfig.model_validate(
        {"name": config.name, "seed": parameters["run"]["seed"], "shards": len(parameters["shards"])}
        | {key: value for key, value in parameters["run"].items() if key == "system_prompt"}
        | {key: value for key, value in parameters.items() if key in RunConfig.model_fields and key != "shards"}
    )
    assert restored == config


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for part in _types(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in found:
                found |= _models(part)
    return found


def _types(annotation: object) -> list[object]:
    return [annotation, *(inner for part in typing.get_args(annotation) for inner in _types(part))]


def test_what_may_be_null_is_null_by_default() -> None:
    """Leaving a null out of the parameters is sound only then."""
    for model in _models(RunConfig):
        for name, field in model.model_fields.items():
            if types.NoneType in typing.get_args(field.annotation):
                assert field.default is None, f"{model.__name__}.{name}"
