"""What is left of a text that was cut off: whole sentences, in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.generation.errors import Unusable
from opencharacter.generation.sentences import whole_sentences

CUT = {
    # Chinese and Japanese put no space after a full stop.
    "潮水从不等人。我每天早上都要给钟上弦。然后我": "潮水从不等人。我每天早上都要给钟上弦。",
    "你去过海边吗？我去过！那里的风": "你去过海边吗？我去过！",
    "真的吗?我不知道.他走": "真的吗?我不知道.",
    '他说"好。"然后他': '他说"好。"',
    "“走吧。”“去哪里": "“走吧。”",
    "「はい。」と言った。それから": "「はい。」と言った。",
    "気温は３．５度でした。次の日": "気温は３．５度でした。",
    "네, 알겠습니다. 그리고": "네, 알겠습니다.",
    # Full stops of their own.
    "मैं रोज़ सुबह उठता हूँ। फिर मैं": "मैं रोज़ सुबह उठता हूँ।",
    "أين ذهبت؟ ذهبت إلى البحر. ثم": "أين ذهبت؟ ذهبت إلى البحر.",
    "میں گھر گیا۔ پھر میں": "میں گھر گیا۔",
    "Ես տուն գնացի։ Հետո": "Ես տուն գնացի։",
    "ወደ ቤት ሄድኩ። ከዚያ": "ወደ ቤት ሄድኩ።",
    "ወደ ቤት ሄድኩ፡፡ከዚያ": "ወደ ቤት ሄድኩ፡፡",
    "ဟုတ်ကဲ့၊ ကျွန်တော် သွားမယ်။ နောက်": "ဟုတ်ကဲ့၊ ကျွန်တော် သွားမယ်။",
    "ខ្ញុំទៅផ្ទះ។ បន្ទាប់": "ខ្ញុំទៅផ្ទះ។",
    "Πού ήσουν; Στη θάλασσα": "Πού ήσουν;",
    # None at all: a space ends a clause.
    "ฉันชื่อมะลิ ฉันอยู่ที่เชียงใหม่ ทุกเช้าฉั": "ฉันชื่อมะลิ ฉันอยู่ที่เชียงใหม่",
    # Quotes, emphasis and emoji go with their sentence.
    'He said "Go." Then he': 'He said "Go."',
    "Er sagte: „Ja.“ Dann": "Er sagte: „Ja.“",
    "Il dit : « Bonjour. » Puis": "Il dit : « Bonjour. »",
    "*(He laughs.)* And": "*(He laughs.)*",
    "Lovely!😊 And so": "Lovely!😊",
    # What holds a full stop without ending.
    "It rained. I went to see Dr. Smith about": "It rained. I went to see Dr. Smith about"[:10],
    "I was born in 1950. We had J. R. R. Tol": "I was born in 1950.",
    "It costs a lot. About 3.5 euros and": "It costs a lot.",
    "First, boil it.\n2. Peel": "First, boil it.",
    "He is 42. Then": "He is 42.",
    "So did I. Then": "So did I.",
    "Did he come? No. I waited": "Did he come? No.",
    "It rains. Take bus No. 5 to the": "It rains.",
}


@pytest.mark.parametrize("text", CUT)
def test_a_cut_text_ends_with_its_last_whole_sentence(text: str) -> None:
    assert whole_sentences(text) == CUT[text]


@pytest.mark.parametrize("text", ["", "  ", "...", "I went to see Dr.", "It costs 3.5", "我……我不", "1. Boil\n2. Peel"])
def test_a_text_without_a_whole_sentence_is_truncated(text: str) -> None:
    with pytest.raises(Unusable, match="truncated"):
        whole_sentences(text)


@pytest.mark.parametrize("noise", [".", "!?", '"', ")", "😊", "…"])
def test_a_model_that_repeats_one_mark_until_it_is_stopped_takes_no_time(noise: str) -> None:
    assert whole_sentences("Aye, so it is. " + noise * 20_000 + "x") == "Aye, so it is."


@given(st.text(st.sampled_from('ab Iก1.!?。॥።؟"”»\n;\u1361中😊Dr')) | st.text())
def test_what_is_left_is_the_beginning_of_the_text(text: str) -> None:
    try:
        whole = whole_sentences(text)
    except Unusable:
        return
    assert text.startswith(whole)
    assert whole.strip()
    assert whole_sentences(whole) == whole
