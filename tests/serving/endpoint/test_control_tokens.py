"""Control tokens in texts, by the token ids of each family of tokenizers that models come with."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.contract.control_tokens import ControlTokens

LLAMA3 = ["<|begin_of_text|>", "<|eot_id|>", *(f"<|reserved_special_token_{i}|>" for i in range(250))]
CHATML = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
SENTENCEPIECE = ["<s>", "</s>", "<unk>"]
GEMMA = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
BERT = ["[CLS]", "[SEP]", "[PAD]"]
DEEPSEEK = ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]

LETTERS = sorted({chr(c) for c in range(32, 127)} | {"▁", "Ġ"})


def byte_level(normaliser: normalizers.Normalizer | None = None) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normaliser:
        tokenizer.normalizer = normaliser
    return tokenizer


def pieces(tokens: list[str], normaliser: normalizers.Normalizer | None, metaspace: bool = False) -> Tokenizer:
    """A unigram model, whose vocabulary holds the control pieces: it finds them in what the normaliser leaves."""
    texts = dict.fromkeys(["<unk>", *tokens])
    vocabulary = [(text, 0.0) for text in texts] + [(letter, -5.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    if normaliser:
        tokenizer.normalizer = normaliser
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


SPACES = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
FAMILIES: dict[str, tuple[list[str], Tokenizer]] = {
    "llama-3": (LLAMA3, byte_level()),
    "qwen": (CHATML, byte_level(normalizers.NFC())),
    "smollm": (CHATML, byte_level()),
    "llama-2, mistral": (SENTENCEPIECE, pieces(SENTENCEPIECE, normalizers.Sequence(SPACES))),
    "llama-2, newer form": (SENTENCEPIECE, pieces(SENTENCEPIECE, None, metaspace=True)),
    "code llama": (["▁<EOT>", "▁<PRE>"], pieces(["▁<EOT>", "▁<PRE>"], None, metaspace=True)),
    "gemma": (GEMMA, pieces(GEMMA, normalizers.Replace(" ", "▁"))),
    "deepseek": (DEEPSEEK, byte_level(normalizers.Sequence([]))),
    "t5, xlnet": (
        SENTENCEPIECE,
        pieces(SENTENCEPIECE, normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), *SPACES])),
    ),
    "accents stripped": (
        SENTENCEPIECE,
        pieces(SENTENCEPIECE, normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), *SPACES])),
    ),
    "lower case": (SENTENCEPIECE, pieces(SENTENCEPIECE, normalizers.Lowercase())),
    "bert": (BERT, pieces(BERT, normalizers.BertNormalizer(lowercase=False))),
    "quotes replaced": (["[q]", '"end"'], pieces(["[q]", '"end"'], normalizers.Replace("``", '"'))),
}

TRICKS = [
    *("\u200b", "\u200d", "\ufeff", "\u2060", "\u00ad", "\u0301", "\u0338", "\u034f", "\x7f", "\x00", "\t", " ", "▁"),
]


def fullwidth(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def disguises(token: str) -> list[str]:
    forms = [
        token,
        token.upper(),
        fullwidth(token),
        token.replace("<", "﹤").replace(">", "﹥"),
        token.replace("<", "≮"),
    ]
    forms += [fullwidth(token[0]) + token[1:], token.replace('"', "``"), token.replace("s", "ſ").replace("i", "𝒊")]
    for trick in TRICKS:
        forms += [token[:1] + trick + token[1:], token[:-1] + trick + token[-1:], trick.join(token)]
    return forms


def prepared(family: str, *, normalized: bool) -> tuple[Tokenizer, ControlTokens, set[int]]:
    tokens, made = FAMILIES[family]
    tokenizer = Tokenizer.from_str(made.to_str())
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=normalized) for token in tokens])
    saved = json.loads(tokenizer.to_str())
    ids = {tokenizer.token_to_id(token) for token in tokens if token != "<unk>"}
    return tokenizer, ControlTokens(tokens, saved["normalizer"]), ids


def reads(tokenizer: Tokenizer, text: str, ids: set[int]) -> bool:
    return bool(ids & set(tokenizer.encode(text, add_special_tokens=False).ids))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_becomes_a_control_token_is_found(family: str, normalized: bool) -> None:
    tokenizer, control, ids = prepared(family, normalized=normalized)
    hidden = 0
    for token in FAMILIES[family][0][:4]:
        for form in disguises(token):
            for text in (form, f"Hello {form} there", f"x{form}\n{form}y"):
                if reads(tokenizer, text, ids):
                    assert control.find(text), (form, text)
                    hidden += form != token
        assert control.find(f"a{token}b")
    if family in ("t5, xlnet", "accents stripped", "lower case", "bert"):
        assert hidden, "this family is here for its normaliser, which makes tokens of other texts"


@given(st.text(st.sampled_from([*'<>/s|[]q`" im_tarendSEP', *TRICKS, "＜", "ｓ", "≮", "ﬆ"]), max_size=12), st.data())
def test_random_texts_of_their_signs_are_found_wherever_they_become_a_control_token(
    text: str, data: st.DataObject
) -> None:
    family = data.draw(st.sampled_from(sorted(FAMILIES)))
    tokenizer, control, ids = prepared(family, normalized=data.draw(st.booleans()))
    if reads(tokenizer, text, ids):
        assert control.find(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_texts_hold_none(family: str) -> None:
    _, control, _ = prepared(family, normalized=False)
    for text in (
        "", "Hello! How are you? <3 >:( *smiles*", "a < b > c, x|y, <br/> [OOC: wait]", "Łódź — „tak” 你好 🦊 ﷺ",
        "``quoted''", "if x<s: print('</p>')", "<|im", "im_start end_of_turn",
    ):  # fmt: skip
        assert control.find(text) is None, text


def test_the_tokens_of_a_model_folder_are_all_special_ones_and_those_that_its_template_writes(tmp_path: Path) -> None:
    added = [
        {"content": "<|im_start|>", "special": True}, {"content": "<|tool|>", "special": True},
        {"content": "<|User|>", "special": False}, {"content": "<think>", "special": False},
        {"content": "user", "special": False}, {"content": "<unused>", "special": False},
    ]  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "normalizer": {"type": "NFC"}}))
    config = {"eos_token": {"content": "</s>"}, "added_tokens_decoder": {"7": {"content": "<|x|>", "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<|y|>"]}))
    (tmp_path / "chat_template.jinja").write_text("<|User|>user <think>\n</think>[INST]{{ messages[0] }}")
    assert ControlTokens.from_model_dir(tmp_path).tokens == {
        "<|im_start|>", "<|tool|>", "<|User|>", "</s>", "<|x|>", "<|y|>", "[INST]",
    }  # fmt: skip


def test_a_template_within_the_configuration_counts_too(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{"template": "<|user|>\n[/INST]"}]}))
    assert ControlTokens.from_model_dir(tmp_path).tokens == {"<|user|>", "[/INST]"}


def test_without_a_tokenizer_the_common_control_tokens_are_meant(tmp_path: Path) -> None:
    assert ControlTokens.from_model_dir(tmp_path).find("a<|im_end|>") == "<|im_end|>"
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        ControlTokens.from_model_dir(tmp_path)


def test_the_small_real_model_refuses_what_its_own_tokenizer_reads_as_control_tokens(small_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(small_model / "tokenizer.json"))
    control = ControlTokens.from_model_dir(small_model)
    ids = {tokenizer.token_to_id(token) for token in control.tokens}
    rng = random.Random(1)
    for token in sorted(control.tokens):
        for form in disguises(token):
            text = f"Hi {form}" if rng.random() < 0.5 else form
            assert bool(control.find(text)) == reads(tokenizer, text, ids)
