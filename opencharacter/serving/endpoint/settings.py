"""Every limit and switch of the endpoint, declared once: its default, its unit and its command-line argument."""

import argparse
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal


def _setting(default: Any, help: str, **how: Any) -> Any:
    """A field that is also an argument; `how` is passed to `add_argument`, where the default's type is not enough."""
    return field(default=default, metadata={"help": help, "how": how})


def _words(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


@dataclass(frozen=True)
class EndpointSettings:
    """The settings of one transformer. The argument of `drain_s` is `--drain_seconds`, others have the field's name."""

    # The HTTP connection.
    request_timeout_s: float = 600
    """For an answer that is not streamed; KServe's `--predictor_request_timeout_seconds`."""
    stream_idle_timeout_s: float = _setting(
        120, "The longest wait for the next piece of a streamed answer, the first one included."
    )
    drain_s: float = _setting(
        25, "Seconds that answers under way have at shutdown; below the pod's terminationGracePeriodSeconds."
    )
    head_timeout_s: float = _setting(10, "Seconds in which the head of a request must arrive.")
    body_timeout_s: float = _setting(30, "Seconds in which the body of a request must arrive.")
    write_timeout_s: float = _setting(60, "Seconds that a client may leave its answer unread.")
    max_head_bytes: int = _setting(32 << 10, "The largest head of a request: its first line and headers.")
    max_body_bytes: int = _setting(4 << 20, "The largest body of a request.")
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins whose pages may call from a browser, separated by commas; * for any.", type=_words
    )

    # The contract.
    strictness: Literal["tolerant", "strict"] = _setting(
        "tolerant",
        "Whether a field that is not understood is dropped (and named in a response header) or refused.",
        choices=["tolerant", "strict"],
    )
    characters_dir: Path | None = _setting(  # noqa: RUF009 - it is dataclasses.field
        None, "A folder of characters (ID.json, ID.txt), which requests may name by id.", type=Path
    )
    characters_refresh_s: float = _setting(10, "Seconds between two looks at the folder of characters.")

    # What one request may hold.
    max_json_values: int = _setting(20_000, "Values in the JSON of a request, of all levels.")
    max_json_depth: int = _setting(64, "Levels of lists and objects in the JSON of a request.")
    max_key_length: int = _setting(64, "Characters of a key in the JSON of a request; names in schemas are not meant.")
    max_prompt_characters: int = _setting(
        1_000_000, "Characters of all messages of a prompt, the character's included."
    )

    # What one request may ask of the engine.
    max_answer_tokens: int = _setting(32_768, "Tokens that one request may ask for: n x max_tokens.")
    default_max_tokens: int = _setting(
        1_024, "max_tokens of a request that sets none, where its answers may have no end of their own (n, ignore_eos)."
    )
    max_stop_strings: int = _setting(64, "Entries of stop; vLLM takes as many as VLLM_MAX_STOP_STRINGS says.")
    max_stop_length: int = _setting(256, "Characters of an entry of stop.")
    max_bad_words: int = _setting(64, "Entries of bad_words; vLLM has room for twice as many.")
    max_bad_words_bytes: int = _setting(512, "Bytes of all bad_words and one for each; vLLM has room for 1,024 tokens.")
    max_logit_bias: int = _setting(1_024, "Entries of logit_bias; vLLM has room for 1,024.")
    max_allowed_token_ids: int = _setting(1_024, "Entries of allowed_token_ids; vLLM has room for 1,024.")
    max_stop_token_ids: int = _setting(64, "Entries of stop_token_ids; vLLM has room for 128 with the model's own.")
    max_schema_bytes: int = _setting(32 << 10, "Bytes of the schema or the choices that an answer is to fit.")
    max_schema_properties: int = _setting(200, "Properties in a schema, of all levels.")
    max_schema_depth: int = _setting(16, "Levels of schemas within a schema.")
    max_enum_values: int = _setting(500, "Values of one enum, and choices.")
    max_grammar_cost: int = _setting(
        1_000, "Milliseconds on one core that compiling a schema or a regular expression may take, as estimated."
    )
    max_logprobs: int = _setting(20, "top_logprobs; vLLM takes as many as --max-logprobs says.")

    # Who may call, and how much.
    api_keys_file: Path | None = _setting(  # noqa: RUF009 - it is dataclasses.field
        None, "The API keys (YAML), read again when the file changes; without it everybody may call.", type=Path
    )
    requests_per_minute: int | None = _setting(None, "Of a key that has no limit of its own.", type=int)
    tokens_per_minute: int | None = _setting(None, "Of a key that has no limit of its own.", type=int)
    tokens_per_day: int | None = _setting(None, "Of a key that has no limit of its own; a day by UTC.", type=int)
    key_max_in_flight: int | None = _setting(
        None, "Requests of a key under way at once, if it has no limit of its own.", type=int
    )
    redis_failure: Literal["open", "closed"] = _setting(
        "open",
        "While the Redis of OPENCHARACTER_REDIS_URL does not answer: count in this process (open), or refuse (closed).",
        choices=["open", "closed"],
    )
    max_in_flight: int = _setting(1024, "Requests at the model server at once.")
    max_queued: int = _setting(256, "Requests that wait for a place there.")
    queue_timeout_s: float = _setting(10, "Seconds that a request waits at the most.")

    # What operators see.
    log_request_text: bool = _setting(False, "Write the model server's request, cut to 16 KiB, to its line in the log.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An argument for each setting."""
    for declared in _declared():
        how = dict(declared.metadata["how"])
        if isinstance(declared.default, bool):
            how.setdefault("action", argparse.BooleanOptionalAction)
        elif "choices" not in how:
            how.setdefault("type", float if declared.name.endswith("_s") else type(declared.default))
        parser.add_argument(
            f"--{_argument(declared.name)}", default=declared.default, help=declared.metadata["help"], **how
        )


def as_arguments(settings: EndpointSettings) -> list[str]:
    """The command line that says what differs from the defaults."""
    said = []
    if settings.request_timeout_s != EndpointSettings.request_timeout_s:
        said.append(f"--predictor_request_timeout_seconds={settings.request_timeout_s:g}")
    for declared in _declared():
        value, name = getattr(settings, declared.name), _argument(declared.name)
        if value == declared.default:
            continue
        if isinstance(value, bool):
            said.append(f"--{name}" if value else f"--no-{name}")
        else:
            said.append(f"--{name}={','.join(value) if isinstance(value, tuple) else value}")
    return said


def read_arguments(arguments: argparse.Namespace) -> EndpointSettings:
    """The settings as the command line has them."""
    return EndpointSettings(
        request_timeout_s=arguments.predictor_request_timeout_seconds,
        **{declared.name: getattr(arguments, _argument(declared.name)) for declared in _declared()},
    )


def described() -> list[tuple[str, str, str]]:
    """Argument, default and meaning of each setting, as the documentation lists them."""
    return [(f"--{_argument(one.name)}", _default(one.default), one.metadata["help"]) for one in _declared()]


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _declared() -> list[Field[Any]]:
    return [declared for declared in fields(EndpointSettings) if declared.metadata]


def _argument(name: str) -> str:
    return f"{name.removesuffix('_s')}_seconds" if name.endswith("_s") else name
