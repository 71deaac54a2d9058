"""Row lengths in the student's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from opencharacter.errors import UserError
from opencharacter.hashing import digest, file_digest

_TOKENIZER_FILES = ("tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*")
_MARKS_PER_MESSAGE = 8
_BATCH = 256
"""Texts encoded at once: enough for every core, at some 50 MB for long rows."""

Message = Mapping[str, str]


class TokenCounter:
    """Counts tokens of conversations with a model's tokenizer and chat template."""

    def __init__(self, model: Path) -> None:
        """`model` is a Hugging Face folder. Raises `UserError` if it holds no `tokenizer.json`."""
        # Not AutoTokenizer, which chooses the same backend but imports torch first: 15 s on a small machine.
        from transformers import PreTrainedTokenizerFast

        try:
            self._tokenizer = PreTrainedTokenizerFast.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{model}: the tokenizer can't be loaded: {error}",
                hint="a student is a model folder with a fast tokenizer (tokenizer.json)",
            ) from error

    def count(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Tokens of each conversation, rendered by the chat template; in batches, spread over the cores.

        A base model without a chat template is given one when it is trained; here its marks are taken to be eight
        tokens a message (Llama-3's and ChatML's are five or six). Raises `UserError` if the template refuses a
        conversation.
        """
        if self._tokenizer.chat_template is None:
            return [self._count_plain(conversation) for conversation in conversations]
        return self._lengths([self._render(conversation) for conversation in conversations])

    def _render(self, conversation: Sequence[Message]) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template([dict(turn) for turn in conversation], tokenize=False))
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in conversation)
            raise UserError(f"the student's chat template refuses a conversation of [{roles}]: {error}") from error

    def _count_plain(self, conversation: Sequence[Message]) -> int:
        lengths = self._lengths([turn["content"] for turn in conversation])
        return sum(lengths) + _MARKS_PER_MESSAGE * len(lengths)

    def _lengths(self, texts: list[str]) -> list[int]:
        lengths: list[int] = []
        for start in range(0, len(texts), _BATCH):
            # The trainer too adds no special tokens beyond those that the template writes.
            encoded = self._tokenizer(
                texts[start : start + _BATCH], add_special_tokens=False, return_attention_mask=False, verbose=False
            )
            lengths += map(len, encoded["input_ids"])
        return lengths


def tokenizer_digest(model: Path) -> str:
    """Digest of the files of a model folder that decide token counts."""
    files = {path for pattern in _TOKENIZER_FILES for path in model.glob(pattern) if path.is_file()}
    return digest([[path.name, file_digest(path)] for path in sorted(files)])
