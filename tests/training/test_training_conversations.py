"""The loss is on the assistant's tokens and its end-of-turn token, and on nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_llama import LLAMA3, byte_tokenizer

from opencharacter.chat_templates import CHATML, give_chat_template
from opencharacter.errors import UserError
from opencharacter.tokenization import IGNORED, encode
from opencharacter.training.worker.chat_template import end_of_turn

# Left out, since transformers' mask differs there: an answer that starts with white space may share a token with the
# line feed of its prompt (the prompt's here, the answer's there); SmolLM2 has no token for some control characters and
# for what lies beyond plane 3 (an answer that starts with one is not masked at all there).
_LETTERS = st.characters(exclude_categories=["Cc", "Cs"], max_codepoint=0x3FFFF)
_TEXTS = st.text(_LETTERS, min_size=1, max_size=40).map(str.strip).filter(bool)


@st.composite
def _conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    turns = draw(st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=4))
    system = [{"role": "system", "content": draw(_TEXTS)}] if draw(st.booleans()) else []
    pairs = [({"role": "user", "content": q}, {"role": "assistant", "content": a}) for q, a in turns]
    return system + [message for pair in pairs for message in pair]


@pytest.fixture(scope="module")
def smollm2(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


@pytest.fixture(scope="module")
def llama3() -> Any:
    from trl.chat_template_utils import llama3_chat_template

    return _llama3_tokenizer(llama3_chat_template)


def _llama3_tokenizer(template: str | None) -> Any:
    tokenizer = byte_tokenizer(LLAMA3)
    tokenizer.bos_token = "<|begin_of_text|>"
    tokenizer.chat_template = template
    return tokenizer


def _plain_tokenizer() -> Any:
    """Bytes and one end-of-text token, as a base model may have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def marked(smollm2: Any, llama3: Any) -> dict[str, str]:
    """The same templates with `{% generation %}` marks, from which transformers itself makes the mask."""
    from trl.chat_template_utils import llama3_training_chat_template

    original = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    assert original in smollm2.chat_template
    with_marks = (
        "{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% generation %}"
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}" + original + "{% endif %}"
    )
    return {
        "smollm2": smollm2.chat_template.replace(original, with_marks),
        "llama3": llama3_training_chat_template,
    }


@pytest.fixture(params=["smollm2", "llama3"])
def named(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, request.getfixturevalue(request.param)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=_conversations())
def test_mask_and_tokens_are_those_of_transformers(
    named: tuple[str, Any], marked: dict[str, str], messages: list[dict[str, str]]
) -> None:
    name, tokenizer = named
    expected = tokenizer.apply_chat_template(
        messages,
        chat_template=marked[name],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    encoded = encode(tokenizer, messages)
    assert encoded.input_ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert encoded.input_ids == expected["input_ids"]
    assert [label != IGNORED for label in encoded.labels] == [bit == 1 for bit in expected["assistant_masks"]]


def test_each_answer_is_learned_with_its_end_and_nothing_else(named: tuple[str, Any]) -> None:
    _, tokenizer = named
    messages = [
        {"role": "system", "content": "You are Ada."},
        {"role": "user", "content": "Who taught you?"},
        {"role": "assistant", "content": "The sea did."},
        {"role": "user", "content": "And to wait?"},
        {"role": "assistant", "content": "The ships."},
    ]
    ids, labels = encode(tokenizer, messages)
    stop = end_of_turn(tokenizer)
    learned = tokenizer.decode([label for label in labels if label != IGNORED])
    end = tokenizer.decode([stop])
    assert learned == f"The sea did.{end}The ships.{end}"
    # The system's and the user's turns end in the same token, which is learned after answers only.
    assert ids.count(stop) == 5
    assert labels.count(stop) == 2


def test_a_base_model_is_given_a_template_that_can_be_trained() -> None:
    plain = _plain_tokenizer()
    assert give_chat_template(plain) == 2
    assert plain.decode([end_of_turn(plain)]) == plain.eos_token == "<|im_end|>"

    llama3 = _llama3_tokenizer(None)
    assert give_chat_template(llama3) == 0
    assert llama3.decode([end_of_turn(llama3)]) == llama3.eos_token == "<|eot_id|>"


def test_the_llama3_template_given_to_base_models_is_that_of_llama3(llama3: Any) -> None:
    base = _llama3_tokenizer(None)
    give_chat_template(base)
    messages = [
        {"role": "system", "content": " padded "},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b\n"},
    ]
    for prompt in (False, True):
        assert base.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt
        ) == llama3.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}", "responses only"),
        (CHATML.replace("message['content']", "message['content'] | upper"), "responses only"),
        ("{{ messages[-1]['content'] }}", "differently"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_what_cannot_be_masked_is_refused(template: str | None, reason: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=reason):
        end_of_turn(tokenizer)
