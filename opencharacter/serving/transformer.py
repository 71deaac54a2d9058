"""The transformer of a KServe InferenceService: `python -m opencharacter.serving.transformer --predictor_host HOST`.

It takes OpenAI requests with a `character`, makes the character's system message and passes the request on to the
model server. It runs on KServe's model server: the arguments, health, metrics and model metadata are KServe's; the
OpenAI routes are ours, since KServe's own need a vLLM of their choice in this image.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from opencharacter.characters import DEFAULT_PROMPT, PROMPT_FILES
from opencharacter.errors import OpenCharacterError
from opencharacter.serving.endpoint.access import check_access
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.contract.prompt import ServedPrompt, has_prompt, load_served_prompt, packaged_prompt
from opencharacter.serving.endpoint.library import CharacterLibrary
from opencharacter.serving.endpoint.settings import EndpointSettings, add_arguments, read_arguments
from opencharacter.serving.endpoint.workers import serve_in_workers

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2 for a bad argument or model folder."""
    # Where KServe finds vLLM it imports it for OpenAI routes of its own, which we don't use: 15 s and a gigabyte.
    sys.modules.setdefault("vllm", None)  # type: ignore[arg-type]
    _raise_open_files()
    with tempfile.TemporaryDirectory(prefix="opencharacter-metrics-") as folder:
        if _worker_count() > 1:
            os.environ.setdefault(_METRICS_DIR, folder)  # read when the metrics' library is imported, by KServe
        _run()


def _run() -> None:
    arguments = _parse_arguments()
    settings = read_arguments(arguments)
    try:
        check_access(settings)
        contract = _contract(arguments, settings)
    except OpenCharacterError as error:
        print(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)
    from opencharacter.serving.endpoint.kserve_server import character_server

    server = character_server(
        contract,
        settings,
        model_name=arguments.model_name,
        predictor_host=arguments.predictor_host,
        predictor_use_ssl=arguments.predictor_use_ssl,
    )
    serve_in_workers(server.serve, count=arguments.workers, host=arguments.http_host, port=server.http_port)


def _raise_open_files() -> None:
    """A stream takes two descriptors; shells allow 1,024 until a process asks for more."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _worker_count() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--workers", type=int, default=1)
    return int(parser.parse_known_args()[0].workers)


def _parse_arguments() -> argparse.Namespace:
    from kserve import model_server  # reads the command line as it is imported

    parser = argparse.ArgumentParser(
        prog="python -m opencharacter.serving.transformer",
        description="KServe transformer that makes a character's profile into the model's system prompt.",
        parents=[model_server.parser],
    )
    parser.add_argument("--model_dir", type=Path, default=Path("/mnt/models"), help="The model folder that is served.")
    parser.add_argument("--http_host", default="0.0.0.0", help="The address that the HTTP port is opened on.")
    parser.add_argument(
        "--allow_packaged_prompt",
        action="store_true",
        help="Use a prompt template of the library's where the model folder has none of its own.",
    )
    parser.add_argument(
        "--packaged_prompt",
        choices=list(PROMPT_FILES),
        default=DEFAULT_PROMPT,
        help="Which of the library's prompt templates that is.",
    )
    add_arguments(parser)
    arguments = parser.parse_args()
    if not arguments.predictor_host:
        parser.error("--predictor_host is required: HOST:PORT of the model server")
    if arguments.workers < 1:
        parser.error("--workers must be at least 1")
    return arguments


def _contract(arguments: argparse.Namespace, settings: EndpointSettings) -> Contract:
    prompt = _served_prompt(arguments)
    library = CharacterLibrary(settings.characters_dir, prompt.check)
    return Contract(prompt, arguments.model_name, library, settings)


def _served_prompt(arguments: argparse.Namespace) -> ServedPrompt:
    if arguments.allow_packaged_prompt and not has_prompt(arguments.model_dir):
        print(
            f"{arguments.model_dir} holds no prompt template of its own; using the library's",
            file=sys.stderr,
        )
        return packaged_prompt(arguments.packaged_prompt, arguments.model_dir)
    return load_served_prompt(arguments.model_dir)


if __name__ == "__main__":
    main()
