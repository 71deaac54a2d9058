"""The loss of answers, by forward passes of the models themselves."""

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from opencharacter import tokenization as conversations
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.evaluation.subjects import Subject
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.progress import Progress, progress
from opencharacter.records.evaluation import Status
from opencharacter.records.models import Turn
from opencharacter.storage.rowstore import RowStore


class Encoded(NamedTuple):
    """A conversation's token ids, and for each whether it belongs to an answer (end-of-turn token included)."""

    ids: list[int]
    answer: list[bool]


class _Task(NamedTuple):
    row_id: str
    tokens: Encoded


class Loss(BaseModel):
    """The score of a conversation as the store keeps it."""

    status: Status
    loss: float | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class ForwardPasses:
    """How losses are measured."""

    max_length: int = 4096
    """Tokens; longer conversations have no loss."""
    batch_size: int = 1
    dtype: str = "bfloat16"
    chat_template: str = ""
    """For models (base models) that have none of their own."""

    def row_id(self, subject: Subject, messages: Sequence[Turn]) -> str:
        """Content address of a conversation's loss under a model."""
        # Unlike LLM calls these are cheap, so an edit of the library repeats them.
        return digest(
            {
                "measure": "loss",
                "model": subject.identity,
                "messages": [turn.model_dump() for turn in messages],
                "chat_template": self.chat_template,
                "dtype": self.dtype,
                "max_length": self.max_length,
                "library": fingerprint(),
            }
        )

    async def score(self, subject: Subject, conversations: Sequence[Sequence[Turn]], store: RowStore) -> None:
        """Measure what the store does not hold.

        Raises `UserError` if the model can't be loaded or its chat template can't be evaluated.
        """
        by_row = {self.row_id(subject, messages): messages for messages in conversations}
        for row_id in by_row:
            # A run that was broken off left these in the journal.
            if (kept := store.calls(row_id).get("loss")) is not None:
                await store.finish(row_id, kept, label=kept["status"])
        todo = {row_id: messages for row_id, messages in by_row.items() if not store.finished(row_id)}
        if not todo:
            return
        tokenizer = self._load_tokenizer(subject)
        encoded = [_Task(row_id, encode(tokenizer, messages)) for row_id, messages in todo.items()]
        fitting = [task for task in encoded if len(task.tokens.ids) <= self.max_length]
        for task in encoded:
            if len(task.tokens.ids) > self.max_length:
                await store.finish(task.row_id, Loss(status="too_long").model_dump(), label="too_long")
        with progress(f"loss of {subject.name}", total=len(fitting)) as bar:
            model = self._load_model(subject)
            for batch in _batches(fitting, self.batch_size):
                await self._keep(batch, _losses(model, [task.tokens for task in batch]), store, bar)
        # The next model, or vLLM, needs the memory.
        del model
        _free_memory()

    async def _keep(self, batch: list[_Task], losses: list[float], store: RowStore, bar: Progress) -> None:
        for task, loss in zip(batch, losses, strict=True):
            finite = math.isfinite(loss)
            status: Status = "ok" if finite else "not_finite"
            scored = Loss(status=status, loss=loss if finite else None, tokens=sum(task.tokens.answer))
            await store.record(task.row_id, "loss", scored.model_dump())
            await store.finish(task.row_id, scored.model_dump(), label=status)
        bar.advance(rows=len(batch), tokens=sum(len(task.tokens.ids) for task in batch))

    def _load_tokenizer(self, subject: Subject) -> Any:
        from transformers import AutoTokenizer

        assert subject.folder is not None
        tokenizer = AutoTokenizer.from_pretrained(subject.folder, trust_remote_code=False)
        if not tokenizer.chat_template:
            tokenizer.chat_template = self.chat_template
        return tokenizer

    def _load_model(self, subject: Subject) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # ours is the one that counts
        assert subject.folder is not None
        on_gpu = torch.cuda.is_available()
        dtype = getattr(torch, self.dtype) if on_gpu else torch.float32
        try:
            model = AutoModelForCausalLM.from_pretrained(
                subject.folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{subject.name} model {subject.reference} can't be loaded: {error}") from error
        return model.eval().to(torch.device("cuda" if on_gpu else "cpu"))


def _batches(tasks: list[_Task], size: int) -> Iterator[list[_Task]]:
    """Tasks of similar length together, so that little is padded; the longest first, so that memory fails early."""
    ordered = sorted(tasks, key=lambda task: len(task.tokens.ids), reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _losses(model: Any, batch: list[Encoded]) -> list[float]:
    """Mean nats per answer token of each conversation."""
    import torch

    longest = max(len(encoded.ids) for encoded in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    present = torch.zeros(len(batch), longest, dtype=torch.long)
    answer = torch.zeros(len(batch), longest, dtype=torch.bool)
    for place, encoded in enumerate(batch):
        ids[place, : len(encoded.ids)] = torch.tensor(encoded.ids)
        present[place, : len(encoded.ids)] = 1
        answer[place, : len(encoded.ids)] = torch.tensor(encoded.answer)
    # The token at t is predicted from t - 1; logits before the first answer of the batch are not computed at all.
    first = int(answer.any(dim=0).int().argmax()) - 1
    is_answer = answer[:, first + 1 :]
    targets = ids[:, first + 1 :][is_answer]
    try:
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=present.to(model.device),
                logits_to_keep=longest - first,
                use_cache=False,
            ).logits
            spoken = logits[:, :-1][is_answer.to(model.device)].float()
            nats = torch.nn.functional.cross_entropy(spoken, targets.to(model.device), reduction="none").cpu()
    except torch.OutOfMemoryError as error:
        raise OpenCharacterError(
            f"out of GPU memory at {len(batch)} x {longest} tokens", hint="lower evaluate.batch_size or max_length"
        ) from error
    return [float(part.mean()) for part in nats.split(is_answer.sum(dim=1).tolist())]


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def encode(tokenizer: Any, messages: Sequence[Turn]) -> Encoded:
    """Tokenize with the mask of training. Raises `UserError` as `conversations.encode` does."""
    ids, labels = conversations.encode(tokenizer, [turn.model_dump() for turn in messages])
    return Encoded(ids, [label != conversations.IGNORED for label in labels])
