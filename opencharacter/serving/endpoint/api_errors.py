"""Errors in the body form of the OpenAI API, so that the stock clients raise and show them."""

from typing import Any


class ApiError(Exception):
    """A request that ends with an error.

    `param` is the path of the field at fault, such as `character.name`; `kind` is the field `type` of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.headers = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body, also sent as the last event of a stream that breaks."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(param: str | None, message: str, *, code: str = "invalid_value") -> ApiError:
    """A 422 for the field at path `param`; the path leads the message, since many clients show the message alone."""
    return ApiError(422, f"{param}: {message}" if param else message, param=param, code=code)
