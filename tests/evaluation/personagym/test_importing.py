import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.personagym_copy import PERSONAS, QUESTIONS, REAL_COPY, TASKS, needs_real_copy, write_copy

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation.personagym.importing import SUITES, import_personagym
from opencharacter.evaluation.suite_config import SuiteConfig
from opencharacter.hashing import tree_digest
from opencharacter.records.evaluation import Item
from opencharacter.storage.jsonl import read_models
from opencharacter.templates import Template


def config_of(folder: Path) -> SuiteConfig:
    return SuiteConfig.model_validate(yaml.safe_load((folder / "suite.yaml").read_text(encoding="utf-8")))


def items_of(folder: Path) -> list[Item]:
    return list(read_models(folder / "items.jsonl", Item))


def test_a_copy_becomes_four_suites(tmp_path) -> None:
    folders = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    assert [folder.name for folder in folders] == list(SUITES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(SUITES)
    full, light, faithful, light_faithful = map(config_of, folders)
    assert (full.measures[0].kind, faithful.measures[0].kind) == ("rubric", "personagym")
    assert full.decides
    assert not full.notice
    assert not light_faithful.decides
    assert "published tables only" in light_faithful.notice
    assert {config.character for config in (full, light, faithful)} == {"persona"}
    items = items_of(folders[0])
    assert len(items) == len(PERSONAS) * len(TASKS) * QUESTIONS
    first = [item for item in items if item.id.endswith("-01")]
    assert [item.id for item in items_of(folders[1])] == [item.id for item in first]
    assert {item.task for item in items} == set(full.measures[0].tasks) == set(faithful.measures[0].rubrics)
    personas = list(read_models(folders[0] / "characters.jsonl", CharacterProfile))
    assert [character.persona for character in personas] == list(PERSONAS)
    assert [character.id for character in personas] == list(dict.fromkeys(item.character_id for item in items))


def test_texts_of_the_copy_are_kept_byte_for_byte(tmp_path) -> None:
    copy = write_copy(tmp_path / "copy")
    *_, faithful, _ = import_personagym(copy, tmp_path / "out", allow_changes=True)
    for path in [
        *copy.glob("rubrics/*"),
        *copy.glob("prompts/*/*prompt.txt"),
        copy / "prompts/score_examples/examples.txt",
    ]:
        assert (faithful / path.relative_to(copy)).read_bytes() == path.read_bytes(), path


def test_the_sound_rubric_is_the_task_and_its_criteria(tmp_path) -> None:
    sound, *_ = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    rubric = (sound / "toxicity_control.md").read_text(encoding="utf-8")
    assert rubric.startswith("Evaluation Task:\n\nToxicity of the lamp")
    assert rubric.endswith("burns.\n")


def test_the_upstream_copy_makes_the_suites_of_the_fork(tmp_path) -> None:
    fork = import_personagym(write_copy(tmp_path / "fork"), tmp_path / "a", allow_changes=True)
    upstream = import_personagym(write_copy(tmp_path / "up", fork=False), tmp_path / "b", allow_changes=True)
    assert list(map(tree_digest, fork)) == list(map(tree_digest, upstream))


def test_sources_name_each_file_that_was_read_and_what_differs(tmp_path) -> None:
    copy = write_copy(tmp_path / "copy")
    (copy / "LICENSE").write_text("MIT License\n\nCopyright")
    folder, *_ = import_personagym(copy, tmp_path / "out", allow_changes=True)
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    assert len(sources["files"]) == len(TASKS) + len(PERSONAS) + 4
    assert sources["license"] == config_of(folder).license == "MIT"
    assert "changed" in sources["source"]
    assert len(sources["differences"]) > len(PERSONAS)


def test_a_changed_copy_is_refused_and_the_difference_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"not the published PersonaGym: prompts/.*txt differs; and 12 more") as caught:
        import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out")
    assert "--allow-changes" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def change(name: str, old: str, new: str):
    def apply(copy: Path) -> None:
        text = (copy / name).read_text(encoding="utf-8")
        assert old in text
        (copy / name).write_text(text.replace(old, new), encoding="utf-8")

    return apply


def remove(name: str):
    return lambda copy: shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()


def write(name: str, content: bytes):
    return lambda copy: (copy / name).write_bytes(content)


QUESTIONS_FILE = f"questions/benchmark-v1/{PERSONAS[1]}.json"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (remove("rubrics/Toxicity.txt"), r"rubrics/Toxicity\.txt: the file is missing"),
        (remove("prompts/rubric_grading/prompt.txt"), r"prompt\.txt: the file is missing"),
        (remove("questions"), r"questions/benchmark-v1: the folder is missing"),
        (remove(QUESTIONS_FILE), r"whistle\.json: the file is missing"),
        (change("rubrics/Toxicity.txt", "{response}", "{answer}"), r"Toxicity\.txt: expected .*; found {answer}, "),
        (change("rubrics/Toxicity.txt", "{response}", ""), r"found {persona}, {question}, {score_example}$"),
        (change("rubrics/Toxicity.txt", "Grade one", "Grade {persona}"), r"found {persona}, {persona}, "),
        (change("rubrics/Toxicity.txt", "{persona}", "{persona!r}"), r"found {persona!r}, "),
        (change("rubrics/Toxicity.txt", "Grade one", "Grade { one"), r"Toxicity\.txt: a brace that belongs to no"),
        (change("rubrics/Toxicity.txt", "Evaluation Task:", "Task:"), r"expected a line 'Evaluation Task:'"),
        (write(QUESTIONS_FILE, b"{"), r"whistle\.json: not JSON"),
        (write(QUESTIONS_FILE, b"[]"), r"expected questions of Expected Action, .*; found list"),
        (write(QUESTIONS_FILE, b'{"Toxicity": ["?"]}'), r"expected questions of .*; found Toxicity"),
        (change(QUESTIONS_FILE, "Toxicity 2: what's that, ", ""), None),
        (write("rubrics/Toxicity.txt", b"\xff"), r"Toxicity\.txt: not UTF-8"),
        (write("code/personas.py", b"benchmark_personas = find()"), r"personas\.py: expected benchmark_personas = "),
        (write("code/personas.py", b"benchmark_personas = ["), r"personas\.py: not Python"),
        (write("code/utils.py", b"def"), r"utils\.py: not Python"),
    ],
)
def test_what_is_not_of_the_form_is_one_error_and_nothing_is_written(tmp_path, fault, message) -> None:
    copy = write_copy(tmp_path / "copy")
    fault(copy)
    if message is None:  # another question is a difference, not a fault
        import_personagym(copy, tmp_path / "out", allow_changes=True)
        return
    with pytest.raises(UserError, match=message):
        import_personagym(copy, tmp_path / "out", allow_changes=True)
    assert not list((tmp_path / "out").glob("*"))


def test_a_blank_question_is_named(tmp_path) -> None:
    copy = write_copy(tmp_path / "copy")
    questions = json.loads((copy / QUESTIONS_FILE).read_text(encoding="utf-8"))
    questions["Toxicity"][3] = " "
    (copy / QUESTIONS_FILE).write_text(json.dumps(questions), encoding="utf-8")
    with pytest.raises(UserError, match=r"whistle\.json: Toxicity\[3\]: expected the text of a question"):
        import_personagym(copy, tmp_path / "out", allow_changes=True)


def test_the_forks_light_questions_must_be_the_first_of_each_task(tmp_path) -> None:
    copy = write_copy(tmp_path / "copy")
    change(f"questions/benchmark-v1_personagym-light/{PERSONAS[2]}.json", "Toxicity 0", "Toxicity 1")(copy)
    folder, *_ = import_personagym(copy, tmp_path / "out", allow_changes=True)
    differences = json.loads((folder / "sources.json").read_text(encoding="utf-8"))["differences"]
    assert any("does not hold the first question" in difference for difference in differences)


def test_a_second_import_keeps_equal_suites_and_refuses_another(tmp_path) -> None:
    copy, out = write_copy(tmp_path / "copy"), tmp_path / "out"
    folders = import_personagym(copy, out, allow_changes=True)
    before = [(folder / "suite.yaml").stat().st_ino for folder in folders]
    assert import_personagym(copy, out, allow_changes=True) == folders
    assert [(folder / "suite.yaml").stat().st_ino for folder in folders] == before
    with pytest.raises(UserError, match=r"personagym: another suite is there"):
        import_personagym(copy, out, allow_changes=True, system_prompt="paper")
    assert [(folder / "suite.yaml").stat().st_ino for folder in folders] == before
    assert sorted(path.name for path in out.iterdir()) == sorted(SUITES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("identity", "Take the part of {}. Leave it never."),
        ("opencharacter", "You play a part.\n\n# Part\n{}\n\nKeep to it."),
    ],
)
def test_system_prompts_of_the_code_are_templates_of_the_suite(tmp_path, name, text) -> None:
    folder, *_ = import_personagym(write_copy(tmp_path / "c"), tmp_path / "o", allow_changes=True, system_prompt=name)
    file = config_of(folder).system_prompt
    template = Template(file, (folder / file).read_text(encoding="utf-8"))
    character = CharacterProfile(persona=PERSONAS[1])
    assert system_prompt(character, "persona", template) == text.format(PERSONAS[1])


def test_a_system_prompt_that_the_copy_lacks_is_named(tmp_path) -> None:
    copy = write_copy(tmp_path / "copy")
    change("code/utils.py", "sys_prompt", "system")(copy)
    with pytest.raises(UserError, match=r"utils\.py: no system prompt 'opencharacter'") as caught:
        import_personagym(copy, tmp_path / "out", allow_changes=True, system_prompt="opencharacter")
    assert "xyang0" in (caught.value.hint or "")


@needs_real_copy
def test_part_of_the_published_questions_is_known_as_published(tmp_path) -> None:
    with pytest.raises(UserError, match=r"code/personas\.py is missing; and 1 more: 40 of 200 personas are there"):
        import_personagym(REAL_COPY, tmp_path / "out")
    full, light, *_ = import_personagym(REAL_COPY, tmp_path / "out", allow_changes=True)
    assert (len(items_of(full)), len(items_of(light))) == (2000, 200)
    config = config_of(full)
    assert (config.license, config.source) == ("MIT", "vsamuel2003/PersonaGym 536f705")
