"""No form of a secret is left in a text."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from opencharacter import redaction
from opencharacter.cli.app import _show_traceback
from opencharacter.errors import OpenCharacterError
from opencharacter.redaction import protect, redact

SECRETS = ["sk-abc/def+ghi=jkl", 'sk-"quoted"\\key', "sk-ключ-от-сервера", "sk-first\nsk-second-part"]


@pytest.fixture(autouse=True)
def _no_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    redaction._pattern.cache_clear()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        str,
        repr,
        ascii,
        lambda secret: repr(secret.encode()),
        lambda secret: repr(f"Bearer {secret}".encode()),
        json.dumps,
        quote,
        lambda secret: quote(secret, safe="").lower(),
        quote_plus,
        lambda secret: secret.encode().hex(),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
        lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
        lambda secret: base64.b64encode(f"me:{secret}, and so on".encode()).decode(),
    ],
)
def test_every_form_is_hidden(secret: str, form: Callable[[str], str]) -> None:
    protect(secret)
    shown = redact(f"before {form(secret)} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    # Base64 shares its first and last characters with the neighbours; they tell a few bits of the secret.
    assert len(shown) < len("before *** after") + 26
    assert secret not in shown


def test_a_part_that_stands_alone_is_hidden() -> None:
    protect("sk-first-part\nsk-second-part")
    assert redact("line 2: sk-second-part") == "line 2: ***"


def test_a_short_secret_is_not_looked_for_within_words() -> None:
    protect("abc")
    assert redact("key abc is in abcdef") == "key *** is in abcdef"


def test_a_placeholder_is_no_secret() -> None:
    protect("EMPTY")
    assert redact("the answer is EMPTY") == "the answer is EMPTY"


def test_blanks_are_no_secret() -> None:
    protect(" \n")
    assert redact("a b\n c") == "a b\n c"


def test_no_error_of_ours_and_no_traceback_shows_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    protect(SECRETS[0])
    error = OpenCharacterError(f"the server said {SECRETS[0]!r}")
    assert str(error) == "the server said '***'"
    try:
        raise ValueError(f"Illegal header value b'Bearer {SECRETS[0]}'")
    except ValueError as caught:
        _show_traceback(type(caught), caught, caught.__traceback__)
    shown = capsys.readouterr().err
    assert "Illegal header value b'Bearer ***'" in shown
    assert SECRETS[0] not in shown
