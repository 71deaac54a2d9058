"""Talking to a served character: a conversation object, and the terminal client on top of it."""

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opencharacter.characters import DEFAULT_PROMPT, PromptName, load_prompt, render_profile
from opencharacter.characters import system_prompt as render_system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.engines.network import check_environment
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.system.api_keys import read_api_key, usual_variable

if TYPE_CHECKING:
    import openai
    from rich.console import Console

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 150.0
"""Longer than the transformer's own wait, so that its message is the one that is seen."""

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COMMANDS = "/reset starts over, /profile shows the character, /exit leaves"


def takes_character(url: str, *, api_key_env: str | None = None) -> bool:
    """Whether an endpoint takes the field `character`, as our served models do; one that does not answer does not."""
    import openai

    client = openai.OpenAI(
        base_url=url,
        api_key=read_api_key(api_key_env, url) if api_key_env else "none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=urlsplit(url).hostname not in _LOOPBACK),
        timeout=_CONNECT_TIMEOUT_S,
    )
    try:
        return _lists_for_kserve(client.models.list())
    except openai.OpenAIError:
        return False


def _lists_for_kserve(listed: Any) -> bool:
    # The transformer lists the names under KServe's key, too.
    return (listed.model_extra or {}).get("models") == [entry.id for entry in listed.data]


class Conversation:
    """A conversation with one character through any OpenAI-compatible endpoint.

    An endpoint of `opencharacter serve`, or of a deployed model, takes the field `character` and renders the prompt
    that the model was trained on. Any other gets a packaged one as a message (`renders_prompt`): `system_prompt`, or
    else the immersive one. `model` defaults to the first that the endpoint lists. `api_key_env` names the variable that
    holds the API key; default: OPENAI_API_KEY where it is set. Raises `OpenCharacterError` if nothing answers at `url`,
    `UserError` if the variable is empty, or for a `system_prompt` where the endpoint has its own.
    """

    def __init__(
        self,
        profile: CharacterProfile,
        *,
        url: str,
        model: str | None = None,
        system_prompt: PromptName | None = None,
        api_key_env: str | None = None,
    ) -> None:
        import openai

        from opencharacter.client import OpenCharacter

        check_environment(url)
        self._url = url
        self._key_variable = api_key_env or usual_variable()
        # A proxy meant for the internet must not be asked for a server on this machine.
        trust_env = urlsplit(url).hostname not in _LOOPBACK
        self._client = OpenCharacter(
            base_url=url,
            api_key=read_api_key(self._key_variable, url) if self._key_variable else "none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=trust_env),
            timeout=openai.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
        )
        self._messages: list[Any] = []
        self.finish_reason: str | None = None
        """Why the last answer ended: `stop` where the model ended it, `length` where it was cut."""
        self._listed: list[str] = []
        with self._told():
            takes_character = self._look()
        self.renders_prompt = not takes_character
        """Whether the system prompt is rendered here, with the packaged template."""
        if takes_character and system_prompt is not None:
            raise own_prompt_error(url, system_prompt)
        self._prompt: list[Any] = []
        if takes_character:
            self._client = self._client.playing(profile)
        else:
            content = render_system_prompt(profile, template=load_prompt(system_prompt or DEFAULT_PROMPT))
            self._prompt.append({"role": "system", "content": content})
        if not (model or self._listed):
            raise OpenCharacterError(f"{url} lists no model", hint="give the model's name: --model NAME")
        self.model = model or self._listed[0]

    def ask(self, message: str, *, sampling: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Send a message and yield the answer piece by piece.

        `sampling` holds fields of the request, such as `temperature`; the server has defaults for the rest.
        The turn joins the conversation once the answer is complete; an interrupted or failed one leaves no trace.
        Raises `UserError` where the endpoint refuses the request, `OpenCharacterError` where it fails.
        """
        turn: Any = {"role": "user", "content": message}
        self.finish_reason = None
        pieces: list[str] = []
        with self._told():
            stream = self._client.chat.completions.create(
                model=self.model,
                messages=[*self._prompt, *self._messages, turn],
                stream=True,
                extra_body=sampling,
            )
            with stream:
                for chunk in stream:
                    for choice in chunk.choices[:1]:
                        self.finish_reason = choice.finish_reason or self.finish_reason
                        if piece := choice.delta.content:
                            pieces.append(piece)
                            yield piece
        self._messages += [turn, {"role": "assistant", "content": "".join(pieces)}]

    def _hint(self, error: "openai.APIStatusError") -> str | None:
        if error.status_code == 404 and self._listed:
            return f"models served there: {', '.join(self._listed)}"
        if "chat template" in _message(error).lower():
            return "choose an instruct model; a base model has no chat template"
        if error.status_code in (401, 403):
            variable = self._key_variable
            return (
                f"correct the key in {variable}" if variable else "name the variable that holds the key: --api-key-env"
            )
        return None

    def reset(self) -> None:
        """Forget all turns."""
        self._messages.clear()

    def _look(self) -> bool:
        """Read the names of the models; returns whether the endpoint takes the field `character`."""
        import openai

        try:
            listed = self._client.models.list()
        except openai.NotFoundError:
            return False  # some servers list nothing
        self._listed = [entry.id for entry in listed.data]
        return _lists_for_kserve(listed)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        import httpx
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            raise OpenCharacterError(f"{self._url} did not answer in time") from error
        except openai.APIConnectionError as error:
            raise OpenCharacterError(
                f"nothing answers at {self._url}", hint="start a server with `opencharacter serve`, or give --base-url"
            ) from error
        except openai.APIStatusError as error:
            kind = UserError if error.status_code in (400, 404, 422) else OpenCharacterError
            raise kind(f"{self._url}: {_message(error)}", hint=self._hint(error)) from error
        except openai.APIError as error:
            raise OpenCharacterError(f"{self._url}: {error.message}") from error
        except httpx.HTTPError as error:
            raise OpenCharacterError(f"{self._url}: the connection broke in mid-answer") from error


def printable(text: str) -> str:
    """A model's text without control characters, which must not steer the terminal."""
    return _CONTROL.sub("", text)


def untrained_note(model: str, system_prompt: PromptName | None = None) -> str:
    """What to say before an untrained model plays a character."""
    name = system_prompt or DEFAULT_PROMPT
    return f"note: {model} was not trained for characters; it gets the packaged system prompt '{name}'"


def own_prompt_error(model: str, system_prompt: PromptName) -> UserError:
    """The error for a system prompt that is asked for where the model brings its own."""
    return UserError(
        f"system prompt '{system_prompt}': {model} has a system prompt of its own",
        hint="leave it out; a model of another system prompt is trained by a run with the key system_prompt",
    )


def chat_in_terminal(
    profile: CharacterProfile,
    *,
    url: str,
    model: str | None = None,
    message: str | None = None,
    system_prompt: PromptName | None = None,
    api_key_env: str | None = None,
) -> None:
    """Chat until /exit, end of input or Ctrl-C; with `message`, ask once and print the answer.

    Ctrl-C during an answer stops the answer only. Raises like `Conversation`.
    """
    from rich.console import Console

    console = Console(highlight=False)
    conversation = Conversation(profile, url=url, model=model, system_prompt=system_prompt, api_key_env=api_key_env)
    if conversation.renders_prompt:
        print(untrained_note(conversation.model, system_prompt), file=sys.stderr)
    if message is not None:
        _print_answer(console, conversation.ask(message))
        return
    console.print(f"{profile.label} ({conversation.model}). {_COMMANDS}.", style="dim", markup=False)
    while (line := _read_line(console)) is not None:
        match line.strip():
            case "":
                continue
            case "/exit":
                return
            case "/reset":
                conversation.reset()
                console.print("The conversation starts over.", style="dim")
            case "/profile":
                console.print(render_profile(profile), markup=False)
            case command if command.startswith("/"):
                console.print(f"{command}? {_COMMANDS}.", style="dim", markup=False)
            case text:
                _answer_turn(console, conversation, text, profile.label)


def _answer_turn(console: "Console", conversation: Conversation, text: str, name: str) -> None:
    console.print(f"{name}: ", style="bold", end="", markup=False)
    try:
        _print_answer(console, conversation.ask(text))
    except KeyboardInterrupt:
        console.print("\nThe answer was stopped; this turn is forgotten.", style="dim")
    except OpenCharacterError as error:
        console.print(f"\n{error}", style="red", markup=False)


def _read_line(console: "Console") -> str | None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (line editing and history for input())
    try:
        return console.input("[bold]you:[/] ")
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None


def _print_answer(console: "Console", pieces: Iterator[str]) -> None:
    for piece in pieces:
        console.print(printable(piece), end="", markup=False, soft_wrap=True)
    console.print()


def _message(error: "openai.APIStatusError") -> str:
    body = error.body
    return str(body["message"]) if isinstance(body, dict) and body.get("message") else error.message
