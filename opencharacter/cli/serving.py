"""`opencharacter serve` and `opencharacter chat`: the application developer's commands."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import Workdir, tracking_server


def serve(
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="models:/NAME@ALIAS or /VERSION, s3://BUCKET/PREFIX, or a folder."),
    ],
    port: Annotated[int, typer.Option(help="Port of the OpenAI-compatible endpoint.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    max_model_len: Annotated[int | None, typer.Option(help="Context length, tokens.")] = None,
    workdir: Workdir = Path("work/demo"),
) -> None:
    """Serve a model with vLLM and, before it, the transformer that turns a character into the system prompt.

    Example: opencharacter serve --model models:/opencharacter-demo@champion --port 8080
    """
    from opencharacter.engines import localize_model
    from opencharacter.registry import resolve
    from opencharacter.serving import serve_until_interrupted
    from opencharacter.storage.s3.client import OBJECT_SCHEME
    from opencharacter.storage.workspace import local_path

    name, weights = Path(model).name, model
    if model.startswith("models:/"):
        with tracking_server(workdir):
            version = resolve(model)
        name, weights = version.name, version.uri
    folder = localize_model(weights) if weights.startswith(OBJECT_SCHEME) else local_path(weights)
    serve_until_interrupted(folder, name, host=host, port=port, max_model_len=max_model_len)


def chat(
    character: Annotated[Path, typer.Option("--character", "-c", help="Profile: JSON, or text that starts with Name:")],
    url: Annotated[str, typer.Option(help="The served endpoint.")] = "http://127.0.0.1:8080/openai/v1",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name; default: the first that is served.")
    ] = None,
    message: Annotated[
        str | None, typer.Option(help="Ask once and print the answer, instead of a conversation.")
    ] = None,
) -> None:
    """Talk to a character in the terminal.

    Example: opencharacter chat --character profile.json --message "What did you do today?"
    """
    from opencharacter.characters import load_profile
    from opencharacter.serving import chat_in_terminal

    chat_in_terminal(load_profile(character), url=url, model=model, message=message)
