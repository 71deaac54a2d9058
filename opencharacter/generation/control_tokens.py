"""Control tokens of chat templates in texts: the marks with which a model's template begins and ends turns.

A teacher's server may leave them in an answer, and a data set may hold them. In a training row such a text would end
its turn and forge the next one. Here they are known by their spelling, whichever model writes them; `mix` asks the
student's tokenizer.
"""

import re

from opencharacter.generation.errors import Unusable

_TOKEN = re.compile(
    # Llama 3, ChatML (Qwen, SmolLM), Phi, Zephyr, GLM, GPT, Granite, Command: <|name|>; DeepSeek: <｜name｜>
    r"<[|｜][\w▁.-]{1,60}[|｜]>"
    # Llama 2 and Mistral
    r"|\[/?INST\]|<</?SYS>>|</?s>|\[/?SYSTEM_PROMPT\]|\[/?AVAILABLE_TOOLS\]|\[TOOL_CALLS\]|\[gMASK\]"
    # Gemma, T5, Nemotron
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|<extra_id_\d+>|<SPECIAL_\d+>"
)
_ENDS = re.compile(
    r"<\|(?:eot_id|eom_id|im_end|end|eot|endoftext|end_of_text|return|eos|END_OF_TURN_TOKEN|END_RESPONSE)\|>"
    r"|</s>|<eos>|<end_of_turn>|<｜end▁of▁sentence｜>"
)
CONTROL_TOKEN = "control_token"
"""Why a row is rejected."""


def require_no_control_token(*texts: str) -> None:
    """Raise `Unusable("control_token")` where a text holds a control token."""
    for text in texts:
        if token := _TOKEN.search(text):
            raise Unusable(CONTROL_TOKEN, f"it holds the control token {token.group()}")


def end_at_control_token(answer: str) -> str:
    """An answer up to the token with which the model ended its turn: what a model writes after it is another turn.

    Raises `Unusable("control_token")` if nothing stands before it, or if another control token comes first.
    """
    token = _TOKEN.search(answer)
    if token is None:
        return answer
    before = answer[: token.start()].rstrip()
    if not _ENDS.fullmatch(token.group()) or not before:
        raise Unusable(CONTROL_TOKEN, f"it holds the control token {token.group()}")
    return before
