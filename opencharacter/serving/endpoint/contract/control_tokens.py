"""Control tokens of the served model in texts: a text that holds one could end its turn and forge another.

A tokenizer finds its special tokens in the text itself or in the text as its normaliser leaves it, so that `＜/s＞` in
full width, or `</s>` with a combining mark or a zero-width space in it, may be the same token. Texts are compared after
the normaliser of the model's own `tokenizer.json`. Ordinary texts are not normalised: a scan for one character that
each token has, in any form that the normaliser turns into it, comes first.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError

_WORD_SPACE = "\u2581"
"""SentencePiece's sign for a space."""

_COMMON = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
    "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
)  # fmt: skip
"""Of the common chat templates, for a model whose tokenizer is not at hand."""

_WRITTEN_MARK = re.compile(r"<\|[^|<>\s]{1,64}\|>|\[/?[A-Z][A-Z_]{1,30}\]|<</?SYS>>|<(?:start|end)_of_\w{1,30}>")
"""What delimits turns in chat templates without being a special token."""

_THOUGHTS = frozenset({"<think>", "</think>"})
"""Clients echo them; they end no turn."""

# Blocks with characters that have a compatibility form in ASCII, or that normalisers remove.
_FOLDED_BLOCKS = (
    range(0x0000, 0x0250), range(0x02B0, 0x0400), range(0x1D00, 0x1DC0), range(0x1E00, 0x2C00), range(0x2E00, 0x3100),
    range(0x3200, 0x3400), range(0xA700, 0xA800), range(0xAB30, 0xAB70), range(0xFB00, 0xFB50), range(0xFE00, 0x10000),
    range(0x1D400, 0x1D800), range(0x1F100, 0x1F200),
)  # fmt: skip


class ControlTokens:
    """The control tokens of one tokenizer."""

    def __init__(self, tokens: Iterable[str], normaliser: Mapping[str, Any] | None = None) -> None:
        """The `tokens` as texts; the `normaliser` as `tokenizer.json` holds it."""
        self.tokens = frozenset(token for token in tokens if token.strip())
        # A pre-tokenizer may write the sign for a space, too.
        forms = self.tokens | set(map(_spaced, self.tokens)) - {""}
        self._raw = _any_of(forms)
        self._normalise = _load_normaliser(normaliser) if normaliser and self.tokens else None
        if self._normalise is not None:
            forms = frozenset(map(_spaced, forms | set(map(self._normalise, forms)))) - {""}
            self._normalised = _any_of(forms)
        marks = _marks(forms)
        if self._normalise is not None:
            marks |= {sign for sign in _foldable() if marks & set(self._normalise(sign))}
        always = normaliser is not None and bool(marks & set(_written_by(normaliser)))
        self._suspicious = None if always else re.compile(f"[{re.escape(''.join(sorted(marks)))}]")

    @classmethod
    def from_model_dir(cls, model_dir: Path) -> "ControlTokens":
        """All special tokens of a model folder's tokenizer, and what its chat template delimits turns with.

        Raises:
            UserError: A file of the tokenizer cannot be read.
        """
        tokenizer = _read_json(model_dir / "tokenizer.json")
        config = _read_json(model_dir / "tokenizer_config.json")
        template = _chat_template(model_dir, config)
        tokens = {*_named_tokens(config), *_named_tokens(_read_json(model_dir / "special_tokens_map.json"))}
        for token in (*tokenizer.get("added_tokens", ()), *config.get("added_tokens_decoder", {}).values()):
            content = token["content"]
            # Some models add the signs of their turns as ordinary tokens.
            if token.get("special") or (content in template and not content[:1].isalnum()):
                tokens.add(content)
        tokens |= set(_WRITTEN_MARK.findall(template))
        return cls(tokens - _THOUGHTS or _COMMON, tokenizer.get("normalizer"))

    @classmethod
    def common(cls) -> "ControlTokens":
        """Those of the common chat templates, for a model whose tokenizer is not at hand."""
        return cls(_COMMON)

    def find(self, text: str) -> str | None:
        """The first control token that the model would read in the text, if any."""
        if self._suspicious is not None and not self._suspicious.search(text):
            return None
        found = self._raw.search(text)
        if found is None and self._normalise is not None:
            found = self._normalised.search(_spaced(self._normalise(text), strip=False))
        return found[0] if found else None


def _spaced(text: str, *, strip: bool = True) -> str:
    text = text.replace(_WORD_SPACE, " ")
    return text.strip() if strip else text


def _marks(tokens: Iterable[str]) -> set[str]:
    """Few characters of which each token has one; signs rather than letters, which ordinary texts hold."""
    left, marks = set(tokens), set[str]()
    while left:
        counts = Counter(sign for token in left for sign in set(token) if not sign.isspace())
        mark = max(counts, key=lambda sign: (not sign.isalnum(), counts[sign], -ord(sign)))
        marks.add(mark)
        left = {token for token in left if mark not in token}
    return marks


def _foldable() -> Iterator[str]:
    for block in _FOLDED_BLOCKS:
        yield from map(chr, block)


def _written_by(normaliser: Any) -> str:
    """The characters that the normaliser writes by itself."""
    if isinstance(normaliser, list):
        return "".join(map(_written_by, normaliser))
    if not isinstance(normaliser, dict):
        return ""
    written = "".join(str(normaliser[name]) for name in ("content", "prepend", "append") if name in normaliser)
    return written + "".join(map(_written_by, normaliser.values()))


def _load_normaliser(normaliser: Mapping[str, Any]) -> Callable[[str], str] | None:
    """The normaliser alone: a vocabulary would take seconds and hundreds of megabytes."""
    from tokenizers import Tokenizer

    model = {"type": "BPE", "vocab": {}, "merges": []}
    tokenizer = Tokenizer.from_str(
        json.dumps({"version": "1.0", "added_tokens": [], "normalizer": normaliser, "model": model})
    )
    normalise: Callable[[str], str] = tokenizer.normalizer.normalize_str
    return normalise


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern that looks at each character of a token once, however many tokens there are."""
    tree: dict[str, Any] = {}
    for token in tokens:
        node = tree
        for sign in token:
            node = node.setdefault(sign, {})
        node[""] = {}
    return re.compile(_branches(tree))


def _branches(tree: dict[str, Any]) -> str:
    if "" in tree:
        return ""  # the shortest token is enough
    branches = [re.escape(sign) + _branches(below) for sign, below in sorted(tree.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _named_tokens(config: Mapping[str, Any]) -> Iterator[str]:
    """Of `bos_token`, `pad_token` and the like, each a text, an object or a list of these."""
    for name, value in config.items():
        if name.endswith(("_token", "special_tokens")):
            for token in value if isinstance(value, list) else [value]:
                content = token.get("content") if isinstance(token, dict) else token
                if isinstance(content, str):
                    yield content


def _chat_template(model_dir: Path, config: Mapping[str, Any]) -> str:
    file = model_dir / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    other = _read_json(model_dir / "chat_template.json").get("chat_template")
    template = other or config.get("chat_template") or ""
    return template if isinstance(template, str) else "\n".join(str(one.get("template")) for one in template)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object")
    return value
