"""Where the library meets a notebook: errors end here, settings become models."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, ValidationError

from opencharacter.errors import OpenCharacterError
from opencharacter.system.event_loop import run_coroutine
from opencharacter.yaml_files import explain

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Model = TypeVar("Model", bound=BaseModel)


def public(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A function whose `OpenCharacterError` reaches the caller without the frames and the causes inside the library."""

    @functools.wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except OpenCharacterError as error:
            raise error.with_traceback(None) from None

    return wrapper


def public_async(
    function: Callable[Parameters, Awaitable[Result]],
) -> Callable[Parameters, Awaitable[Result]]:
    """`public` for a coroutine function."""

    @functools.wraps(function)
    async def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return await function(*args, **kwargs)
        except OpenCharacterError as error:
            raise error.with_traceback(None) from None

    return wrapper


def wait_for(awaitable: Awaitable[Result]) -> Result:
    """The result of an awaitable, also where an event loop runs already."""

    async def run() -> Result:
        return await awaitable

    return run_coroutine(run())


def settings(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """The settings model of a step from keyword arguments. Raises `UserError` naming the key, and the nearest one."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, model, where, None, hint=f"keys: {', '.join(model.model_fields)}") from error
