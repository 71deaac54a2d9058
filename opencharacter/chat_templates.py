"""The chat template that a base model without one is given.

It is saved with the tuned model (docs/design.md, decision 7).
"""

from typing import Any

_LLAMA3_TOKENS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

LLAMA3 = """\
{%- for message in messages %}
    {%- if loop.first %}{{- bos_token }}{%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
"""The template of Llama-3-Instruct, whose tokens Llama-3 base models know already."""

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
"""ChatML without a default system message."""


def give_chat_template(tokenizer: Any) -> int:
    """Give a tokenizer without a chat template one, with its special tokens and its end-of-sequence token.

    Llama-3 headers where the vocabulary has them, otherwise ChatML. Returns the number of tokens that were new to the
    vocabulary (the model's embeddings must grow by as many).
    """
    vocabulary = tokenizer.get_vocab()
    llama3 = all(token in vocabulary for token in _LLAMA3_TOKENS)
    tokens = _LLAMA3_TOKENS if llama3 else _CHATML_TOKENS
    tokenizer.chat_template = LLAMA3 if llama3 else CHATML
    added = tokenizer.add_special_tokens({"extra_special_tokens": list(tokens)}, replace_extra_special_tokens=False)
    tokenizer.eos_token = tokens[-1]
    return int(added)
