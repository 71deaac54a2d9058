"""Bad input of mix, train, evaluate and serve; the second notebook of examples/ runs them."""

from pathlib import Path

import pytest
from support.small_mixture import make_mixture, small_rows
from support.small_run import dialogue, profile, session
from support.tiny_llama import save_tiny_llama

import opencharacter as oc
from opencharacter.storage.workspace import Workspace

CHARACTERS = [profile(name, persona=f"{name} keeps {name.lower()} bees by the sea.") for name in ("Ada", "Bo", "Cy")]
DIALOGUES = [
    dialogue("G", session(f"s{number}", f"Question {number}?", "Yes."), who, f"{who.name} says {number} with a shrug.")
    for number in range(6)
    for who in CHARACTERS
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


def test_bad_input_is_one_clear_error(base: Path, tmp_path: Path) -> None:
    mixture = make_mixture(Workspace(tmp_path), small_rows(sessions=1))
    output = oc.Workspace(tmp_path).output("mixture")
    cases = [
        (lambda: oc.mix(DIALOGUES, CHARACTERS, base, workspace=tmp_path, held=1), "held: unknown key", "held_out"),
        (lambda: oc.mix([], CHARACTERS, base, workspace=tmp_path), "there are no dialogues", None),
        (lambda: oc.mix(DIALOGUES, CHARACTERS, tmp_path, workspace=tmp_path), "no config.json", None),
        (lambda: oc.train(output, base, workspace=tmp_path, max_step=1), "did you mean 'max_steps'", "epochs"),
        (lambda: oc.train(output.filter(cell="train"), base, workspace=tmp_path), "filtered mixture", "then mix"),
        (lambda: oc.evaluate(base, mixture, workspace=tmp_path), "holds no model that `train` made", "base_model="),
        (lambda: oc.evaluate(output, output, workspace=tmp_path), "expected a trained model, not mixture", None),
        (lambda: oc.evaluate(base, base_model=base, workspace=tmp_path), "'grid' asks the held-out rows", None),
        (lambda: oc.evaluate(base, suite="nowhere", base_model=base, workspace=tmp_path), "'nowhere'", "frozen"),
        (lambda: oc.evaluate(base, mixture, base_model=base, judges=["a"], workspace=tmp_path), "judges", None),
        (lambda: oc.serve(tmp_path / "nowhere"), "no model", None),
        (lambda: oc.serve(output), "expected a trained model, not mixture", "train"),
    ]
    for call, message, hint in cases:
        with pytest.raises(oc.UserError) as caught:
            call()
        assert message in str(caught.value)
        assert hint is None or hint in (caught.value.hint or "")
