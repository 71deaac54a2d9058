"""Row lengths in the student's tokens."""

from collections.abc import Sequence
from pathlib import Path

from opencharacter.chat_templates import give_chat_template
from opencharacter.errors import UserError
from opencharacter.hashing import digest, file_digest
from opencharacter.tokenization import Messages, TurnMarks, render_chat

_TOKENIZER_FILES = ("tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*")
_BATCH = 256
"""Texts encoded at once: enough for every core, at some 50 MB for long rows."""


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
        if not self._tokenizer.chat_template:
            give_chat_template(self._tokenizer)  # as training does
        self._marks = TurnMarks(self._tokenizer)

    def count(self, conversations: Sequence[Messages]) -> list[int | None]:
        """Tokens of each conversation, in batches, spread over the cores.

        None where a text holds marks of the template, and so ends its turn or forges another. Raises `UserError` if the
        template refuses a conversation.
        """
        texts = [render_chat(self._tokenizer, conversation) for conversation in conversations]
        lengths: list[int | None] = []
        for start in range(0, len(texts), _BATCH):
            # The trainer too adds no special tokens beyond those that the template writes.
            encoded = self._tokenizer(
                texts[start : start + _BATCH], add_special_tokens=False, return_attention_mask=False, verbose=False
            )
            lengths += [
                None if self._marks.are_forged(conversation, ids) else len(ids)
                for conversation, ids in zip(conversations[start : start + _BATCH], encoded["input_ids"], strict=True)
            ]
        return lengths


def tokenizer_digest(model: Path) -> str:
    """Digest of the files of a model folder that decide token counts."""
    files = {path for pattern in _TOKENIZER_FILES for path in model.glob(pattern) if path.is_file()}
    return digest([[path.name, file_digest(path)] for path in sorted(files)])
