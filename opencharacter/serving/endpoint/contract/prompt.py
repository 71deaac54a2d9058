"""What the transformer reads of the model that it fronts: its system prompt template and its control tokens."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.characters import DEFAULT_PROMPT, PromptName, extend_prompt, load_prompt, system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.serving.endpoint.api_errors import invalid
from opencharacter.serving.endpoint.contract.character import Character
from opencharacter.serving.endpoint.contract.control_tokens import ControlTokens
from opencharacter.serving.endpoint.contract.messages import SEPARATOR, Message, merge_messages
from opencharacter.templates import Template

_TEMPLATE_FILE = "opencharacter/system.md"
_LINEAGE_FILE = "opencharacter/model.json"

MAX_PROMPT = 32_000
"""Characters of the rendered system prompt, without the client's own system messages; several times the longest
published profile."""


class RenderedMessages(NamedTuple):
    """What the model server gets."""

    messages: list[dict[str, str]]
    continues: bool
    """Whether the last message is the assistant's, which the model continues."""


@dataclass(frozen=True)
class ServedPrompt:
    """How a checked request becomes the messages that the model was trained on (docs/design.md, decision 6)."""

    template: Template
    control_tokens: ControlTokens = field(default_factory=ControlTokens.common)

    def render(self, character: Character, messages: list[Message], *, strict: bool) -> RenderedMessages:
        """The messages for the model server, the character's system message first.

        Raises `ApiError` (422) where a text holds a control token or the profile is too long.
        """
        for position, message in enumerate(messages):
            self._check_text(f"messages[{position}].content", message.content)
            if message.name:
                self._check_text(f"messages[{position}].name", message.name)
        character = character.filled()  # before the check, since a macro may stand inside a control token
        for path, text in character.texts():
            self._check_text(path, text)
        opening, turns = merge_messages(messages, character.speakers, strict=strict)
        if character.greeting and turns[0][0] == "user":
            turns.insert(0, ("assistant", [character.greeting]))
        if character.closing:
            last_user = next((texts for role, texts in reversed(turns) if role == "user"), opening)
            last_user.append(character.closing)
        system = self._system(character, opening)
        merged = [{"role": role, "content": SEPARATOR.join(filter(None, texts))} for role, texts in turns]
        return RenderedMessages(
            [{"role": "system", "content": system}, *merged] if system else merged, turns[-1][0] == "assistant"
        )

    def check(self, character: Character) -> None:
        """Raise `ApiError` (422) for a character that no request could have."""
        self.render(character, [Message("user", "")], strict=False)

    def _system(self, character: Character, opening: list[str]) -> str:
        prompt = system_prompt(character.profile, template=self.template) if character.profile else ""
        prompt = extend_prompt(
            prompt,
            instructions=character.instructions,
            scenario=character.scenario,
            example_dialogue=character.example_dialogue,
            user_name=character.user_name,
        )
        if len(prompt) > MAX_PROMPT:
            raise invalid(
                "character", f"is {len(prompt)} characters long as a prompt; at most {MAX_PROMPT} are allowed"
            )
        return extend_prompt(prompt, further=opening)

    def _check_text(self, path: str, text: str) -> None:
        if token := self.control_tokens.find(text):
            raise invalid(path, f"holds the model's control token '{token}'")


def has_prompt(model_dir: Path) -> bool:
    """Whether a prompt template travels in the model folder."""
    return (model_dir / _LINEAGE_FILE).exists()


def load_served_prompt(model_dir: Path) -> ServedPrompt:
    """Read the template that travels in the model folder and check it against the recorded hash.

    Raises `UserError` naming the file that is missing, damaged or altered, or the template's unknown macro.
    """
    lineage = _read_json(model_dir / _LINEAGE_FILE)
    path = model_dir / _TEMPLATE_FILE
    try:
        template = Template("system.md", path.read_bytes().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read the model's system prompt template: {error}") from error
    recorded = lineage.get("prompt_hash")
    if template.hash != recorded:
        raise UserError(
            f"{path}: hash {template.hash} differs from prompt_hash {recorded} in {_LINEAGE_FILE}",
            hint="serve the folder as training wrote it; the model knows only the prompt that it was trained on",
        )
    system_prompt(CharacterProfile(name="check"), template=template)  # unknown macros show now, not in a request
    return ServedPrompt(template, ControlTokens.from_model_dir(model_dir))


def require_chat_template(model_dir: Path) -> None:
    """Raise `UserError` for a model without a chat template, which cannot be asked."""
    config = model_dir / "tokenizer_config.json"
    if (model_dir / "chat_template.jinja").is_file() or (model_dir / "chat_template.json").is_file():
        return
    if not (config.is_file() and _read_json(config).get("chat_template")):
        raise UserError(
            f"{model_dir}: the model has no chat template",
            hint="choose an instruct model; a base model cannot play a character",
        )


def packaged_prompt(name: PromptName = DEFAULT_PROMPT, model_dir: Path | None = None) -> ServedPrompt:
    """A template of this version of the library, for models that were not trained by it.

    The control tokens are those of the model's folder, where there is one. Raises `UserError` if its tokenizer's files
    cannot be read.
    """
    control_tokens = ControlTokens.from_model_dir(model_dir) if model_dir else ControlTokens.common()
    return ServedPrompt(load_prompt(name), control_tokens)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; expected a model folder that `opencharacter` trained",
            hint="other models have no prompt template of their own; the packaged one must be allowed explicitly",
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object")
    return value
