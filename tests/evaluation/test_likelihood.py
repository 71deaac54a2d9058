import shutil

import pytest
from support.small_mixture import SEEN, make_mixture, make_row
from support.tiny_llama import CHATML, LLAMA3, byte_tokenizer

from opencharacter.characters import system_prompt
from opencharacter.errors import UserError
from opencharacter.evaluation import EvaluateConfig
from opencharacter.evaluation.grid import grid_suite
from opencharacter.evaluation.losses import ForwardPasses, encode
from opencharacter.evaluation.running import Settings, run_suites
from opencharacter.evaluation.subjects import Subject
from opencharacter.records.models import Turn
from opencharacter.storage.kinds import SCORES

CONVERSATION = [
    Turn(role="system", content="You are Ada."),
    Turn(role="user", content="Who are you? assistant?"),
    Turn(role="assistant", content="I am Ada, naïve as ever."),
    Turn(role="user", content="And then?"),
    Turn(role="assistant", content="Then I wrote."),
]


@pytest.mark.parametrize(("template", "end"), [(CHATML, "<|im_end|>"), (LLAMA3, "<|eot_id|>")])
def test_the_mask_holds_the_answers_and_their_end_of_turn_only(template: str, end: str) -> None:
    tokenizer = byte_tokenizer(template)
    ids, answer = encode(tokenizer, CONVERSATION)
    masked = tokenizer.decode([token for token, wanted in zip(ids, answer, strict=True) if wanted])
    assert masked == f"I am Ada, naïve as ever.{end}Then I wrote.{end}"
    assert ids == tokenizer.apply_chat_template([turn.model_dump() for turn in CONVERSATION], return_dict=False)


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{% if loop.last or message['role'] != 'assistant' %}"
        "<|im_start|>{{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
    )
    with pytest.raises(UserError, match="message 3 differently"):
        encode(tokenizer, CONVERSATION)


def score(config, workspace, mixture, *folders, seed=1):
    """The likelihood rows of the suite `grid`."""
    subjects = [Subject(f"model {i}", str(folder), str(i) * 64, folder) for i, folder in enumerate(folders)]
    settings = Settings(passes=ForwardPasses(config.max_length, config.batch_size, config.dtype))
    suite = grid_suite(config, mixture, seed)
    found = run_suites([suite], subjects, workspace=workspace, seed=seed, settings=settings)
    return list(SCORES.read(found["grid"]))


def shown(item, characters, character_id):
    """The whole conversation of an item as a character's."""
    system = [Turn(role="system", content=system_prompt(characters[character_id]))]
    return [*system, *item.turns, Turn(role="assistant", content=item.reference)]


def reference_loss(folder, messages) -> float:
    """The mean over answer tokens, one conversation at a time, from all logits of a plain forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids, answer = encode(AutoTokenizer.from_pretrained(folder), messages)
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.tensor([ids])).logits[0]
    nats = -torch.log_softmax(logits, dim=-1)
    wanted = [float(nats[place - 1, ids[place]]) for place in range(1, len(ids)) if answer[place]]
    return sum(wanted) / len(wanted)


def test_loss_and_gap_are_those_of_plain_forward_passes(config, workspace, mixture, tiny_llama) -> None:
    suite = grid_suite(config, mixture, seed=1)
    items, characters = suite.items(), suite.characters()
    rows = score(config, workspace, mixture, tiny_llama)
    by_key = {(row.question_id, row.metric): row for row in rows}
    assert len(by_key) == len(rows) == 2 * len(items)
    for item in items:
        own = reference_loss(tiny_llama, shown(item, characters, item.character_id))
        wrong = reference_loss(tiny_llama, shown(item, characters, item.wrong_character_id))
        assert by_key[item.id, "loss"].score == pytest.approx(own, rel=1e-4)
        assert by_key[item.id, "profile_swap_gap"].score == pytest.approx(wrong - own, abs=1e-3)
        assert abs(wrong - own) > 1e-3  # a random model reacts to any prompt, so the swap did happen


def test_batches_do_not_change_the_scores(config, workspace, mixture, tiny_llama, tmp_path) -> None:
    from opencharacter.storage.workspace import Workspace

    batched = score(config, workspace, mixture, tiny_llama)
    single = config.model_copy(update={"batch_size": 1})
    alone = score(single, Workspace(tmp_path / "other"), mixture, tiny_llama)
    assert [row.score for row in batched] == pytest.approx([row.score for row in alone], abs=1e-3)


def test_rows_that_are_too_long_have_no_score(workspace, tiny_llama) -> None:
    rows = [make_row("train", character, session) for character in SEEN[:2] for session in (1, 3)]
    tokenizer = byte_tokenizer()
    lengths = sorted(len(encode(tokenizer, row.messages).ids) for row in rows)
    config = EvaluateConfig(max_length=lengths[1], dtype="float32")
    measured = score(config, workspace, make_mixture(workspace, rows), tiny_llama)
    assert [(row.status, row.score is None) for row in measured].count(("too_long", True)) == 4
    assert {row.status for row in measured} == {"ok", "too_long"}


def test_general_rows_have_a_loss_and_no_gap(workspace, config, tiny_llama) -> None:
    rows = [make_row("train", None, 1), make_row("train", SEEN[0], 1)]
    measured = score(config, workspace, make_mixture(workspace, rows), tiny_llama)
    assert len(measured) == 3
    assert {(row.metric, row.status, row.character_id) for row in measured} == {
        ("loss", "ok", None),
        ("loss", "ok", SEEN[0].id),
        ("profile_swap_gap", "no_other_character", SEEN[0].id),
    }


def test_finished_rows_are_not_computed_again(config, workspace, mixture, tiny_llama, tmp_path) -> None:
    first = score(config, workspace, mixture, tiny_llama)
    shutil.rmtree(workspace.list("evaluation")[0].path)
    shutil.copyfile(tiny_llama / "chat_template.jinja", tmp_path / "chat_template.jinja")
    # Without weights there is nothing to compute with.
    assert score(config, workspace, mixture, tmp_path) == first


def test_a_broken_run_keeps_what_it_computed(config, workspace, mixture, tiny_llama, monkeypatch) -> None:
    from opencharacter.evaluation import losses

    computed: list[int] = []

    def compute(model, batch, forward=losses._losses):
        if len(computed) == 4:
            raise KeyboardInterrupt
        computed.append(len(batch))
        return forward(model, batch)

    monkeypatch.setattr(losses, "_losses", compute)
    with pytest.raises(KeyboardInterrupt):
        score(config, workspace, mixture, tiny_llama)
    monkeypatch.undo()
    before = sum(computed)
    again: list[int] = []

    def count(model, batch, forward=losses._losses):
        again.append(len(batch))
        return forward(model, batch)

    monkeypatch.setattr(losses, "_losses", count)
    rows = score(config, workspace, mixture, tiny_llama)
    assert {row.status for row in rows} == {"ok"}
    assert before + sum(again) == 2 * len(grid_suite(config, mixture, seed=1).items())


def test_a_model_without_a_template_is_measured_with_the_tuned_one(
    config, workspace, mixture, tiny_llama, tmp_path
) -> None:
    bare = shutil.copytree(tiny_llama, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    rows = score(config, workspace, mixture, tiny_llama, bare)
    half = len(rows) // 2
    assert [row.score for row in rows[:half]] == pytest.approx([row.score for row in rows[half:]])


def test_a_diverged_model_has_failures_and_no_scores(config, workspace, mixture, tiny_llama, tmp_path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "diverged")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "diverged")
    rows = score(config, workspace, mixture, tmp_path / "diverged")
    assert {(row.status, row.score) for row in rows} == {("not_finite", None)}


def test_a_folder_without_weights_is_named(config, workspace, mixture, tiny_llama, tmp_path) -> None:
    broken = shutil.copytree(tiny_llama, tmp_path / "broken", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(UserError, match=f"model {broken} can't be loaded"):
        score(config, workspace, mixture, broken)
