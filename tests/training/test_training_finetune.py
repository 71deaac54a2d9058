"""The training process from inside: packing, LoRA, base models without a chat template."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.small_mixture import small_rows
from support.tiny_llama import save_tiny_llama

from opencharacter.errors import UserError
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.tokenization import IGNORED
from opencharacter.training import SftConfig
from opencharacter.training.job import Job, Nodes, Result, Tracking
from opencharacter.training.worker.dataset import encode_rows, load_encoded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


def _job(folder: Path, base: Path, **fields: Any) -> Job:
    rows = folder / "train.jsonl.zst"
    write_jsonl(rows, [row for row in small_rows(sessions=4) if row.cell == "train"])
    values: dict[str, Any] = {
        "base_model": str(base),
        "max_length": 2048,
        "global_batch_size": 4,
        "dtype": "float32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
    }
    (folder / "work").mkdir()
    return Job(
        config=SftConfig.model_validate(values | fields),
        base_model=base,
        rows=rows,
        folder=folder / "work",
        workspace=str(folder),
        checkpoints="job",
        nodes=Nodes(),
        model=folder / "model",
        result=folder / "result.json",
        seed=3,
        tracking=Tracking(experiment=None, dataset_uri=str(rows), dataset_digest="d" * 64, tags={}),
    )


def _trainer(job: Job) -> Any:
    from opencharacter.training.worker.base_model import load_base
    from opencharacter.training.worker.trainer import CharacterTrainer
    from opencharacter.training.worker.trainer_settings import Precision, trainer_settings

    precision = Precision.choose(job.config, on_cpu=True)
    model, tokenizer = load_base(job, precision)
    encode_rows(job.rows, tokenizer, job.folder / "rows", max_length=job.config.max_length, processes=1)
    return CharacterTrainer(
        model=model,
        args=trainer_settings(job, precision, on_cpu=True),
        train_dataset=load_encoded(job.folder / "rows")[0],
        processing_class=tokenizer,
        floor=0.1,
    )


def _summed_loss(trainer: Any, *, as_one_document: bool = False) -> tuple[float, int]:
    """Loss over all batches of an epoch, and the number of tokens that it is on."""
    import torch

    loss, learned = 0.0, 0
    with torch.no_grad():
        for batch in trainer.get_train_dataloader():
            if as_one_document:
                batch["position_ids"] = torch.arange(batch["input_ids"].shape[1])[None]
            learned += int((batch["labels"] != IGNORED).sum())
            loss += float(trainer.compute_loss(trainer.model, batch, num_items_in_batch=1))
    return loss, learned


def test_packed_documents_do_not_see_each_other(base: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "plain").mkdir()
    packed = _trainer(_job(tmp_path / "packed", base, packing=True))
    plain = _trainer(_job(tmp_path / "plain", base, packing=False))
    assert len(packed.train_dataset) < len(plain.train_dataset) / 2

    expected, learned = _summed_loss(plain)
    assert _summed_loss(packed) == (pytest.approx(expected, rel=1e-4), learned)
    leaking, _ = _summed_loss(packed, as_one_document=True)
    assert leaking != pytest.approx(expected, rel=1e-2), "the test could not tell leaking documents"


def test_lora_ends_as_plain_weights(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from opencharacter.training.worker.finetune import finetune

    job = _job(tmp_path, base, lora={"rank": 4}, max_steps=3, logging_steps=2, learning_rate=1e-2)
    finetune(job)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, job.model))
    assert after.keys() == before.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {name for name in before if "_proj" in name}
    result = Result.model_validate_json(job.result.read_text())
    assert [point.step for point in result.losses] == [1, 2, 3], "the curve reaches the last step"


def test_the_model_folder_holds_the_sampling_that_servers_use_by_default(base: Path, tmp_path: Path) -> None:
    sampling = {"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1}
    trainer = _trainer(_job(tmp_path, base, generation_config=sampling))
    trainer.save_model(str(tmp_path / "saved"))
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert saved.items() >= (sampling | {"do_sample": True}).items()
    assert "eos_token_id" in saved


def test_a_base_model_without_a_chat_template_gets_one_or_is_refused(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from opencharacter.training.worker.finetune import finetune

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = None
    wordless = tmp_path / "wordless"
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(wordless)
    tokenizer.save_pretrained(wordless)
    (tmp_path / "full").mkdir()
    (tmp_path / "lora").mkdir()

    with pytest.raises(UserError, match="no chat template"):
        finetune(_job(tmp_path / "lora", wordless, lora={}))
    job = _job(tmp_path / "full", wordless, max_steps=1)
    finetune(job)
    turns = [{"role": "user", "content": "Who?"}]
    served = AutoTokenizer.from_pretrained(job.model)
    rendered = served.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"


def test_weights_that_are_not_safetensors_are_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    from opencharacter.training.worker.base_model import load_base
    from opencharacter.training.worker.trainer_settings import Precision

    pickled = tmp_path / "pickled"
    shutil.copytree(base, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    job = _job(tmp_path, pickled)
    with pytest.raises(UserError, match="can't be loaded"):
        load_base(job, Precision.choose(job.config, on_cpu=True))
