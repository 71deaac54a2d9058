"""What counts as noise: answers that repeat themselves, or that are not made of words."""

import pytest

from opencharacter.reporting.coherence import find_fault

GOOD = [
    "I'd tell him at once. A dog that hides a chewed boot is found out by the smell.",
    "Tell her.",
    "*She laughs.* Well… I once lost 3 letters in '98 – on the 9th of May, at 7:30 – and the post-master (a kind man) "
    'said: "Never mind!"',
    "**First**, sit down. Then:\n\n1. Breathe.\n2. Say what happened.\n- It costs $20, or 15% of that.",
    "Je l'ai dit à mon chef, et c'était fini.",
]


@pytest.mark.parametrize("answer", GOOD)
def test_an_answer_in_plain_language_passes(answer: str) -> None:
    assert find_fault(answer) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (" \n", "empty"),
        ("E** Site any mistakes?", "1 of its 4 words are unreadable"),
        ("I'll <|end m@ke ##it {{name}} well, $$ you know", "unreadable"),
        ("I will tell him the truth. I will tell him the truth. I will tell him the truth.", "repeats itself"),
    ],
)
def test_noise_is_named(answer: str, fault: str) -> None:
    assert fault in (find_fault(answer) or "")
