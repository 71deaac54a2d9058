"""Thoughts that a server leaves in the text are cut away; a text that speaks of the marks stays whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.engines.thoughts import cut_thoughts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>I am a robot.</think>Ahoy!", "Ahoy!"),
        ("I should greet.\n</think>\n\nAhoy!", "Ahoy!"),
        ("The user wants a greeting.</think>Ahoy!", "Ahoy!"),
        ("okay so I think she would say hi </think> Ahoy!", "Ahoy!"),
        ("<think></think>\n\nAhoy!", "Ahoy!"),
        ("</think>Ahoy!", "Ahoy!"),
        ("<THINK>\nHm.\n</THINK>\nAhoy!", "Ahoy!"),
        ("<thinking>Hm.</thinking>Ahoy!", "Ahoy!"),
        ("<reasoning>Hm.</reasoning>\nAhoy!", "Ahoy!"),
        ('<think time="3">Hm.</think>Ahoy!', "Ahoy!"),
        ("&lt;think&gt;Hm.&lt;/think&gt;Ahoy!", "Ahoy!"),
        ("<seed:think>Hm.</seed:think>Ahoy!", "Ahoy!"),
        ("[THINK]Hm.[/THINK]Ahoy!", "Ahoy!"),
        ("◁think▷Hm.◁/think▷Ahoy!", "Ahoy!"),
        ("<|begin_of_thought|>Hm.<|end_of_thought|>\n<|begin_of_solution|>Ahoy!<|end_of_solution|>", "Ahoy!"),
        ("<|channel>thought\nHm.<channel|>Ahoy!", "Ahoy!"),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Ahoy!<|return|>",
            "Ahoy!",
        ),
        ("analysisWe must greet.assistantfinalAhoy!", "Ahoy!"),
        ("<think>Hm.</think><answer>Ahoy!</answer>", "Ahoy!"),
        ("<think>Hm.</think>\n<think>Hm again.</think>\nAhoy!", "Ahoy!"),
        ("<think>Hm.</think>Ahoy. <think>And now?</think> Come in.", "Ahoy. Come in."),
        ("<think>Hm. <think>Deeper.</think> Yes.</think>Ahoy!", "Ahoy!"),
        ("<think>I end with `</think>`, then speak.</think>Ahoy!", "Ahoy!"),
        ("<think>Hm.</think>Ahoy!\n</think>", "Ahoy!"),
        ('<think>Hm.</think>{"answers": ["Ahoy!"]}', '{"answers": ["Ahoy!"]}'),
        ("Ahoy.\n<think>And now I", "Ahoy."),
        ("<think>Hm. I", ""),
    ],
)
def test_thoughts_are_cut_away(text: str, answer: str) -> None:
    assert cut_thoughts(text).text == answer


@pytest.mark.parametrize(
    "text",
    [
        "I like tea, I think, and <b>scones</b>.",
        "A model writes <think> before it speaks and </think> after.",
        "You close a thought with </think> and go on.",
        "The mark is `</think>`. Then comes the answer.",
        'Some put "<think>" first, and "</think>" last.',
        "They put <think>...</think> around it.",
        "Write it so:\n```\n<think>one two</think>\n```\nThat is the whole trick.",
        '{"answers": ["I say </think> when I am done."]}',
        "Ahoy there.<|end|>",
        "I <think> therefore I am",
    ],
)
def test_a_text_that_speaks_of_the_marks_stays_whole(text: str) -> None:
    assert cut_thoughts(text) == (text, False, False, False)


def test_a_block_that_never_ends_is_told_from_one_that_does() -> None:
    assert cut_thoughts("<think>Hm. I").ends_in_thoughts
    assert cut_thoughts("Ahoy.\n<think>And now").ends_in_thoughts
    assert not cut_thoughts("<think>Hm.</think>").ends_in_thoughts


PIECES = (  # `^` for `|` in the marks
    "<think>|</think>|<THINK>|</ think >|[THINK]|[/THINK]|<^end^>|<^channel^>analysis<^message^>|<^start^>assistant|"
    '<^channel^>final<^message^>|Ahoy.| so |\n|```|`|"|{|}| |<'
)


@given(st.lists(st.sampled_from(PIECES.split("|")), max_size=14).map(lambda parts: "".join(parts).replace("^", "|")))
def test_what_is_cut_once_stays_as_it_is(text: str) -> None:
    answer = cut_thoughts(text)
    assert cut_thoughts(answer.text).text == answer.text
    assert answer.cut or answer.text == text
