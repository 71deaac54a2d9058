"""The body of a request, from bytes to a JSON object."""

from typing import Any

from opencharacter.serving.endpoint.api_errors import ApiError, invalid


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a body. Raises `ApiError`: 400 for what is not JSON, 422 for what is no object."""
    from pydantic_core import from_json

    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the request is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise invalid(None, "the request must be a JSON object")
    return value
