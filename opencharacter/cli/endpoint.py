"""`opencharacter endpoint`: what the operator of a served endpoint needs."""

from pathlib import Path
from typing import Annotated

import typer

_NEW = "opencharacter endpoint key new web --requests-per-minute 600 --file keys.yaml"

app = typer.Typer(help="Operate an endpoint.", epilog=f"Example: {_NEW}", no_args_is_help=True)
key = typer.Typer(help="API keys.", epilog=f"Example: {_NEW}", no_args_is_help=True)
app.add_typer(key, name="key")


@key.command("new", epilog=f"Example: {_NEW}")
def new(
    name: Annotated[str, typer.Argument(help="Who it is for; its name in logs and metrics.")],
    requests_per_minute: Annotated[int | None, typer.Option(help="Default: the endpoint's.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Default: the endpoint's.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Default: the endpoint's. A day by UTC.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Requests at once; default: the endpoint's.")] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict/--tolerant", help="How its requests are read; default: the endpoint's.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Keys file that the entry is added to, instead of printing it.")
    ] = None,
) -> None:
    """Make an API key. It is shown this once; the keys file holds its hash, from a Secret in a cluster."""
    from opencharacter.serving.endpoint.access import add_key, new_key

    secret, entry = new_key(
        name,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        tokens_per_day=tokens_per_day,
        max_in_flight=max_in_flight,
        strict=strict,
    )
    text = add_key(entry, file)
    if file is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"added {name} to {file}", err=True)
    typer.echo(f"the key, shown this once: {secret}", err=True)
