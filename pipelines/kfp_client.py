"""The client of a Kubeflow Pipelines server, and what its answers are taken for.

KFP's own client builds its models from any answer: of a web page or of other JSON it makes an object without fields,
and goes on. Its look at the server's health is repeated for 25 s where it is refused. So each answer is read raw here.
"""

import contextlib
import io
import json
import re
import warnings
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opencharacter.errors import UserError

if TYPE_CHECKING:
    import kfp

TOKEN_VARIABLE = "KF_PIPELINES_TOKEN"
NO_API_HINT = (
    f"is it the API's address, and {TOKEN_VARIABLE} set if it asks for a login? "
    "Try: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
)
_TIMEOUT_S = (5, 30)
_PAGE = re.compile(r"\s*(<!--.*?-->\s*)*(<!doctype\s+html|<html|<head|<body)", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.{1,300}?)</title>", re.IGNORECASE | re.DOTALL)
_DASHBOARD = "/_/"
"""What Kubeflow's dashboard puts before the path of the page that it frames."""


class Unanswered(Exception):
    """The server did not answer, or could not just now: to be asked again."""


class NotTheApi(Exception):
    """Something else answered."""


class Refused(Exception):
    """The server refused. `words` are its own, if they are the API's."""

    def __init__(self, status: int, reason: str, words: str | None) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status
        self.words = words

    @property
    def hint(self) -> str | None:
        """What to do about it."""
        login = f"set {TOKEN_VARIABLE} to a token that is valid" if self.status in (401, 403) else None
        return ". ".join(filter(None, (self.words, login))) or None


class KfpServer:
    """A server whose answers are read raw. Its methods raise `Unanswered`, `NotTheApi` and `Refused`."""

    def __init__(self, host: str, token: str | None = None) -> None:
        """Raises `UserError` for an address or a token that cannot be one."""
        self.host = api_address(host)
        # Any namespace does: it keeps the client from asking the server at once, which may be away.
        self.client: Any = open_client(self.host, token, namespace="unused")

    def read(self, call: Any, **arguments: Any) -> dict[str, Any]:
        """The JSON object that one of the client's generated calls is answered with."""
        answer = self._send(call, **arguments)
        text = _text(answer)
        try:
            told = json.loads(text)
        except ValueError as error:
            raise NotTheApi(_what_answered(answer, text)) from error
        if not isinstance(told, dict):
            raise NotTheApi(f"it answers {_path(answer)} with JSON that is no object")
        return told

    def text(self, path: str, query: list[tuple[str, str]]) -> str:
        """The text at a path of the server."""
        call_api = self.client.runs.run_service_get_run.__self__.api_client.call_api
        answer = self._send(
            call_api, path, "GET", query_params=query, auth_settings=["Bearer"], _return_http_data_only=True
        )
        text = _text(answer)
        if _is_page(text):
            raise NotTheApi(_what_answered(answer, text))
        return text

    def _send(self, call: Any, *arguments: Any, **named: Any) -> Any:
        import urllib3.exceptions
        from kfp_server_api import ApiException

        try:
            answer = call(*arguments, _preload_content=False, _request_timeout=_TIMEOUT_S, **named)
            _ = answer.data
            return answer
        except (ApiException, UnicodeDecodeError, AttributeError) as error:
            # The client fails at decoding the body of a refusal where it is not UTF-8, or where there is none.
            refusal = error if isinstance(error, ApiException) else error.__context__
            if not isinstance(refusal, ApiException):
                raise
            raise _refusal(refusal) from error
        except (urllib3.exceptions.LocationParseError, urllib3.exceptions.URLSchemeUnknown, ValueError) as error:
            raise UserError(f"'{self.host}' is not an address: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            if "too many redirects" in str(error):
                raise NotTheApi("it redirects without an end") from error
            raise Unanswered(_reason(error)) from error
        except OSError as error:
            raise Unanswered(_reason(error)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what the client prints: links for notebooks, and warnings of what it takes for granted."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def open_client(host: str, token: str | None = None, *, namespace: str | None = None) -> "kfp.Client":
    """A client of the server at `host`, with a bearer token if it asks for one.

    Without a namespace the client asks the server whether it is for several users, several times if it must.
    Raises `UserError` for a token that no header can hold.
    """
    import kfp

    with quiet():
        return kfp.Client(host=host, existing_token=_checked(token), **({"namespace": namespace} if namespace else {}))


def api_address(host: str) -> str:
    """The API's address, of what a browser shows for a page of its interface too. Raises `UserError` for none."""
    address = host.strip().partition("#")[0].partition("?")[0].rstrip("/")
    if not address:
        raise UserError(
            "the address of the Kubeflow Pipelines API is empty: give --host, such as http://localhost:8080"
        )
    scheme, separator, rest = address.rpartition("://")
    return scheme + separator + (rest + "/").replace(_DASHBOARD, "/", 1).rstrip("/")


def _checked(token: str | None) -> str | None:
    token = (token or "").strip()
    if not token.isascii() or not token.isprintable():
        raise UserError(
            f"the token of the Kubeflow Pipelines API ({TOKEN_VARIABLE} or --token) cannot be sent: it holds a line "
            "feed or another character that a header cannot hold"
        )
    return token or None


def _refusal(error: Any) -> Exception:
    status, reason = int(error.status or 0), " ".join(str(error.reason or "").split())
    if status == 0:
        return Unanswered(reason)
    raw = error.body if error.body is not None else b""
    body = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    words = _words(body)
    if words is None and (300 <= status < 400 or status == 404):
        return NotTheApi(f"it answers {status} {reason}")
    return Refused(status, reason, words)


def _text(answer: Any) -> str:
    return bytes(answer.data).decode(errors="replace")


def _words(body: str) -> str | None:
    """The server's own words, if they are the API's."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    words = answer.get("message") or answer.get("error") if isinstance(answer, dict) else None
    return " ".join(str(words).split())[:500] if words else None


def _is_page(text: str) -> bool:
    return bool(_PAGE.match(text.removeprefix("\ufeff")))


def _what_answered(answer: Any, text: str) -> str:
    title = _TITLE.search(text)
    named = f" '{' '.join(unescape(title[1]).split())}'" if title else ""
    kind = f"a web page{named}" if _is_page(text) else "text that is not JSON" if text.strip() else "nothing"
    history = answer.retries.history if answer.retries else ()
    if redirects := [step for step in history if step.redirect_location]:
        # Without its query, which may hold what is not to be shown.
        end = urlsplit(answer.geturl() or redirects[-1].redirect_location)
        place = f"{end.scheme}://{end.netloc}{end.path}" if end.netloc else end.path
        return f"it redirects {urlsplit(redirects[0].url).path} to {place}, which answers with {kind}"
    return f"it answers {_path(answer)} with {kind}"


def _path(answer: Any) -> str:
    return urlsplit(answer.geturl() or "").path or "/"


def _reason(error: BaseException) -> str:
    """urllib3 packs the cause into what it says of its own tries."""
    cause = getattr(error, "reason", None)
    return " ".join(str(cause if isinstance(cause, BaseException) else error).split())


def not_the_api(host: str, error: NotTheApi) -> str:
    """The message of it."""
    return f"the server at {host} is not a Kubeflow Pipelines API: {error}"
