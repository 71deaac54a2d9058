"""Train and serve language models that play any character from its profile (arXiv 2501.15427).

    import opencharacter as oc

    teacher = oc.connect("http://localhost:8000/v1")
    profile = oc.make_profile("A retired lighthouse keeper who writes to strangers.", teacher)
    dialogue = oc.generate(profile, "How do I fall asleep?", teacher)

Names are loaded when they are first used, so the import itself costs next to nothing. docs/python-api.md goes through
them by example.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opencharacter.api.models import ServedModel, chat, chat_async, connect, connect_async, local_model, serve
    from opencharacter.api.outputs import Output, Workspace
    from opencharacter.api.rows import (
        generate,
        generate_async,
        make_profile,
        make_profile_async,
        render_prompt,
        rewrite,
        rewrite_async,
        scratch_workspace,
    )
    from opencharacter.api.steps import evaluate, evaluate_async, mix, train
    from opencharacter.characters.loading import load_profile
    from opencharacter.characters.profile import CharacterProfile
    from opencharacter.errors import OpenCharacterError, UserError
    from opencharacter.serving.chat import Conversation

__version__ = "0.1.0"

__all__ = [
    "CharacterProfile",
    "Conversation",
    "OpenCharacterError",
    "Output",
    "ServedModel",
    "UserError",
    "Workspace",
    "chat",
    "chat_async",
    "connect",
    "connect_async",
    "evaluate",
    "evaluate_async",
    "generate",
    "generate_async",
    "load_profile",
    "local_model",
    "make_profile",
    "make_profile_async",
    "mix",
    "render_prompt",
    "rewrite",
    "rewrite_async",
    "scratch_workspace",
    "serve",
    "train",
]

_HOMES = {
    "opencharacter.api.models": [
        "ServedModel",
        "chat",
        "chat_async",
        "connect",
        "connect_async",
        "local_model",
        "serve",
    ],
    "opencharacter.api.outputs": ["Output", "Workspace"],
    "opencharacter.api.rows": [
        *("generate", "generate_async", "make_profile", "make_profile_async", "render_prompt"),
        *("rewrite", "rewrite_async", "scratch_workspace"),
    ],
    "opencharacter.api.steps": ["evaluate", "evaluate_async", "mix", "train"],
    "opencharacter.characters.loading": ["load_profile"],
    "opencharacter.characters.profile": ["CharacterProfile"],
    "opencharacter.errors": ["OpenCharacterError", "UserError"],
    "opencharacter.serving.chat": ["Conversation"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
