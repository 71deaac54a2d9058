"""The worked examples that a teacher sees: which one, and what profiles share with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM
from support.synthesis_run import PERSONAS, SmallRun

from opencharacter.characters import ATTRIBUTES
from opencharacter.characters.names import first_name
from opencharacter.config.loading import load_run_config
from opencharacter.engines import Sampling
from opencharacter.errors import UserError
from opencharacter.synthesis import ProfilesConfig
from opencharacter.synthesis.profile_prompt import EXAMPLES, ProfilePrompt, read_examples
from opencharacter.templates import Template, load_template

DRAWN = ProfilePrompt.load(ProfilesConfig(examples="drawn"))


def test_there_are_five_to_ten_examples_of_different_people() -> None:
    assert 5 <= len(DRAWN.shown) <= 10
    people = [json.loads(example.answer) for example in DRAWN.shown]
    assert all(list(person) == list(ATTRIBUTES) for person in people)
    for attribute in ("name", "age", "race", "birth_place"):
        assert len({person[attribute] for person in people}) == len(people)
    assert len({person["gender"] for person in people}) == 3
    openings = [person[attribute].split()[0] for person in people for attribute in ATTRIBUTES[5:]]
    assert max(map(openings.count, openings)) <= len(openings) / 4, "not one way to begin a text"


def test_every_example_keeps_to_the_schema_of_the_demo() -> None:
    schema = ProfilePrompt.load(load_run_config(preset="demo").profiles).schema["properties"]
    for example in DRAWN.shown:
        for attribute, text in json.loads(example.answer).items():
            assert schema[attribute]["minLength"] <= len(text) < schema[attribute]["maxLength"]


def test_the_persona_draws_its_example() -> None:
    personas = [f"A cook who counts to {number}." for number in range(400)]
    drawn = [DRAWN.example(persona) for persona in personas]
    assert drawn == [DRAWN.example(persona) for persona in personas]
    times = [drawn.count(example) for example in DRAWN.shown]
    assert min(times) > 0.5 * len(personas) / len(DRAWN.shown)


def test_drawn_examples_are_other_rows_and_the_recipes_draw_them() -> None:
    one = ProfilePrompt.load(ProfilesConfig())
    assert one.hash != DRAWN.hash
    assert one.messages(PERSONAS[0])[:2] == one.messages(PERSONAS[1])[:2]
    recipes = ("demo", "a1", "a2", "a3", "a4", "a5", "final")
    assert {load_run_config(preset=name).profiles.examples for name in recipes} == {"drawn"}


@pytest.mark.parametrize("text", ["", "A cook.", "A cook.\n\n{}\n---\n", "A cook.\n\n{}\n---\n\n\n{}"])
def test_a_file_of_examples_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match=r"'mine.md': example \d is not a persona, a blank line and its profile"):
        read_examples(Template("mine.md", text), "drawn")


def test_what_profiles_share_with_their_example_is_counted(tmp_path: Path) -> None:
    made = iter(range(100))
    example = ProfilePrompt.load(ProfilesConfig(sampling=Sampling(max_tokens=400))).shown[0]
    name = first_name(json.loads(example.answer)["name"])
    copied = " ".join(json.loads(example.answer)["personality"].split()[:6])

    def answer(request: dict[str, Any]) -> str:
        number = next(made)
        person = {
            "name": f"{name} Ito" if number < 3 else f"Ada{number} Ito",
            "age": "41",
            "gender": "female",
            "race": "Ainu",
            "birth_place": "Otaru, Japan",
            "appearance": "A tall woman in a felt hat, always out of breath.",
            "experience": "The valley and its trails are all that I know of the world.",
            "personality": f"{copied}, as they say, and much more besides."
            if number < 2
            else "Patient, proud and fond of soup, she seldom sleeps.",
        }
        return json.dumps(person)

    with FakeLLM(answer=answer) as server:
        run = SmallRun(str(tmp_path), server.base_url)
        run.make_profiles()
        characters = run.characters()
    assert characters.stats["shared_with_example"] == {"first_name": 3, "words": 2}


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Nesrin Kaplan", "Nesrin"),
        ("Dr. Lindiwe Mokoena", "Lindiwe"),
        ("Captain Sister Ada", "Ada"),
        ('"Red" Duane', "Red"),
        ("林秋", "林秋"),
        ("Sir", "Sir"),
        ("", ""),
    ],
)
def test_first_names(name: str, first: str) -> None:
    assert first_name(name) == first


@pytest.mark.parametrize("choice", EXAMPLES)
def test_the_packaged_examples_are_read(choice: Any) -> None:
    assert read_examples(load_template(EXAMPLES[choice]), choice)
