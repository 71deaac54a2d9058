"""Submission to something that is no Kubeflow Pipelines API: real servers on loopback that answer as such things do."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from support import stand_in
from support.kfp_api import kfp_api

from opencharacter.cli import main

Submit = Callable[[str], tuple[int, str]]
Answer = tuple[int, str, str]
"""Status, body, content type."""

SIGN_IN = "<!DOCTYPE html>\n<html><head><title>Sign in to\n Kubeflow &amp; more</title></head><body><form>"
PAGE = "text/html; charset=utf-8"
JSON = "application/json"
COMMAND = ("pipeline", "submit", "--preset", "demo", "--workspace", "s3://models/oc", "--no-preflight", "--host")
HEALTH, EXPERIMENTS, RUNS = (f"/apis/v2beta1/{name}" for name in ("healthz", "experiments", "runs"))


@pytest.fixture
def submit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Submit:
    """The exit code, and what stderr shows."""
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)

    def run(host: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main([*COMMAND, host])
        streams = capsys.readouterr()
        assert "run " not in streams.out
        return int(caught.value.code or 0), streams.err

    return run


@contextmanager
def answering(
    answers: dict[tuple[str, str], Answer], otherwise: Answer, asked: list[str] | None = None
) -> Iterator[str]:
    """A server that gives these answers by method and path. A status of 3xx redirects to the body."""

    class Other(stand_in.Handler):
        def _any(self) -> None:
            if length := int(self.headers.get("Content-Length") or 0):
                self.rfile.read(length)
            path = self.path.partition("?")[0]
            if asked is not None:
                asked.append(f"{self.command} {path}")
            status, body, kind = answers.get((self.command, path), otherwise)
            if 300 <= status < 400 and body:
                self.text(status, "", Location=body)
            else:
                self.text(status, body, kind)

        do_GET = do_POST = _any

    with stand_in.serving(Other) as url:
        yield url


def refuses(told: tuple[int, str], *words: str) -> None:
    code, error = told
    message, *hint = error.strip().splitlines()
    assert code == 1, error
    assert message.startswith("error: "), error
    assert len(hint) <= 1, error
    for word in words:
        assert word in error
    assert "Traceback" not in error
    assert "<html" not in error.lower()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, SIGN_IN, PAGE), ("answers /apis/v2beta1/healthz with a web page 'Sign in to Kubeflow & more'",)),
        ((200, "\ufeff<!-- proxy -->\n<HTML>", PAGE), ("with a web page",)),
        ((200, "<html>\u00e9", "text/html; charset=no-such"), ("with a web page",)),
        ((200, "OK", "text/plain"), ("with text that is not JSON",)),
        ((200, "", "text/plain"), ("answers /apis/v2beta1/healthz with nothing",)),
        ((204, "", "text/plain"), ("with nothing",)),
        ((200, "[]", JSON), ("JSON that is no object",)),
        ((200, "null", JSON), ("JSON that is no object",)),
        ((200, '"healthy"', JSON), ("JSON that is no object",)),
        ((404, "<html>no such page", PAGE), ("answers 404 Not Found",)),
        ((404, "404 page not found", "text/plain"), ("answers 404 Not Found",)),
        ((302, "", "text/plain"), ("answers 302 Found",)),
    ],
)
def test_another_server_is_named_with_what_it_answers(submit: Submit, answer: Answer, words: tuple[str, ...]) -> None:
    with answering({}, answer) as url:
        refuses(submit(url), f"the server at {url} is not a Kubeflow Pipelines API: it ", "KF_PIPELINES_TOKEN", *words)


@pytest.mark.parametrize("told", [{"status": "ok"}, {"experiments": {}}, {"experiments": [1]}, {"experiments": [{}]}])
def test_other_json_starts_no_run(submit: Submit, told: dict[str, Any]) -> None:
    asked: list[str] = []
    with answering({}, (200, json.dumps(told), JSON), asked) as url:
        refuses(submit(url), "is not a Kubeflow Pipelines API: its answer has no experiment_id")
    assert f"POST {RUNS}" not in asked


@pytest.mark.parametrize("answer", [(200, "{}", JSON), (200, '{"run_id": 7}', JSON), (200, SIGN_IN, PAGE)])
def test_a_run_without_an_id_is_no_run(submit: Submit, answer: Answer) -> None:
    experiment = (200, '{"experiment_id": "e1"}', JSON)
    answers = {("GET", HEALTH): (200, "{}", JSON), ("GET", EXPERIMENTS): (200, "{}", JSON)}
    with answering(answers | {("POST", EXPERIMENTS): experiment}, answer) as url:
        refuses(submit(url), "is not a Kubeflow Pipelines API: it")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_sign_in_page_is_named_without_its_query(submit: Submit, status: int) -> None:
    with answering({}, (200, SIGN_IN, PAGE)) as login:
        to = (status, f"{login}/dex/auth?state=s3cr3t", "")
        with answering({}, to) as url:
            told = submit(url)
    refuses(told, f"it redirects /apis/v2beta1/healthz to {login}/dex/auth, which answers with a web page 'Sign in")
    assert "s3cr3t" not in told[1]


def test_only_the_new_run_is_redirected(submit: Submit) -> None:
    answers = {
        ("GET", HEALTH): (200, "{}", JSON),
        ("GET", EXPERIMENTS): (200, '{"experiments": [{"experiment_id": "e1"}]}', JSON),
        ("POST", RUNS): (302, "/login", ""),
    }
    with answering(answers, (200, SIGN_IN, PAGE)) as url:
        refuses(submit(url), f"it redirects {RUNS} to", "/login, which answers with a web page")


def test_redirects_without_an_end_are_said(submit: Submit) -> None:
    with answering({}, (302, HEALTH, "")) as url:
        refuses(submit(url), "it redirects without an end")


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_in_front_is_named(submit: Submit, status: int) -> None:
    for body in (b"<html>Who are you?", "<html>Qui \u00eates-vous ?".encode("latin-1")):

        class Guard(stand_in.Handler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))  # noqa: B023
                self.end_headers()
                self.wfile.write(body)  # noqa: B023

        with stand_in.serving(Guard) as url:
            refuses(submit(url), f"{url} refused the run: {status}", "set KF_PIPELINES_TOKEN to a token that is valid")


def test_the_server_s_own_refusal_keeps_its_words(submit: Submit) -> None:
    words = json.dumps({"error": "no", "code": 7, "message": "User 'a' is not\nauthorized"})
    with answering({}, (403, words, JSON)) as url:
        refuses(submit(url), "refused the run: 403 Forbidden", "User 'a' is not authorized")


def test_an_error_page_is_one_line_and_is_not_asked_again(submit: Submit) -> None:
    asked: list[str] = []
    with answering({}, (503, "<html><h1>upstream connect error</h1>", PAGE), asked) as url:
        refuses(submit(url), f"{url} refused the run: 503 Service Unavailable")
    assert asked == [f"GET {HEALTH}"]


def test_tls_on_a_port_without_it_is_one_line(submit: Submit) -> None:
    with answering({}, (200, "{}", JSON)) as url:
        refuses(submit(url.replace("http:", "https:")), "no Kubeflow Pipelines server answers at https://127.0.0.1")


def test_an_interface_whose_api_server_is_away_is_said(submit: Submit) -> None:
    told = json.dumps({"apiServerReady": False, "buildDate": ""})
    with answering({}, (200, told, JSON)) as url:
        refuses(submit(url), "its interface answers, and says that the API server behind it does not")


@pytest.fixture(params=["", "/", "/pipeline", "/_/pipeline/?ns=team-a", "/pipeline/#/runs"])
def page(request: pytest.FixtureRequest) -> str:
    """What a user copies from the browser, after the host."""
    return str(request.param)


def behind_a_prefix(prefix: str) -> AbstractContextManager[str]:
    answers = {
        ("GET", f"{prefix}{HEALTH}"): (200, "{}", JSON),
        ("GET", f"{prefix}{EXPERIMENTS}"): (200, '{"experiments": [{"experiment_id": "e1"}]}', JSON),
        ("POST", f"{prefix}{RUNS}"): (200, '{"run_id": "r9"}', JSON),
    }
    return answering(answers, (404, "<html>", PAGE))


def test_the_address_of_a_page_is_understood(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "/pipeline" if "pipeline" in page else ""
    with behind_a_prefix(prefix) as url:
        with pytest.raises(SystemExit) as caught:
            main([*COMMAND, url + page])
        told = capsys.readouterr().out
    assert (caught.value.code or 0, f"run r9\n{url}{prefix}/#/runs/details/r9" in told) == (0, True)


def test_another_prefix_is_no_api(submit: Submit) -> None:
    with behind_a_prefix("/pipeline") as url:
        refuses(submit(f"{url}/other"), "is not a Kubeflow Pipelines API: it answers 404")


def test_an_empty_host_is_the_user_s_mistake(submit: Submit) -> None:
    code, error = submit(" ")
    assert (code, "give --host" in error) == (2, True)


def test_a_token_of_a_file_is_stripped_and_another_is_refused_unseen(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "se\ncret")
    with kfp_api() as api:
        code, error = submit(api.url)
        assert (code, "KF_PIPELINES_TOKEN" in error, "cret" in error, api.runs) == (2, True, False, [])
        monkeypatch.setenv("KF_PIPELINES_TOKEN", " secret\n")
        with pytest.raises(SystemExit):
            main(
                [
                    "pipeline",
                    "submit",
                    "--preset",
                    "demo",
                    "--host",
                    api.url,
                    "--workspace",
                    "s3://m/o",
                    "--no-preflight",
                ]
            )
        assert (len(api.runs), api.headers[-1]["authorization"]) == (1, "Bearer secret")
