"""Turns a GGUF file into a Hugging Face folder: `python -m opencharacter.engines.gguf FILE FOLDER`.

It runs as a process of its own: it needs some gigabytes for a few seconds, and the hub off before transformers loads.
"""

import sys
from pathlib import Path


def convert(source: Path, target: Path) -> None:
    """Write the model of the GGUF file `source` into the folder `target`.

    Weights become float32 safetensors; tokenizer, chat template and generation settings come from the file's metadata.
    """
    from gguf import GGUFReader

    licence = GGUFReader(source).get_field("general.license")

    # Loaded once the file has proven readable: this import takes many seconds.
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    location = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        **location, quantization_config=GgufConfig(dequantize=True), dtype="float32"
    )
    tokenizer = AutoTokenizer.from_pretrained(**location)
    # Generation ends with the turn: the chat template closes each one with the tokenizer's end-of-sequence token.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    if licence is not None:
        card = f"---\nlicense: {licence.contents()}\n---\n\nConverted from `{source.name}`.\n"
        (target / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
