from pathlib import Path

import pytest

from opencharacter.engines import EngineConfig, open_engine
from opencharacter.engines.network import proxy_for
from opencharacter.errors import UserError

PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://teacher.example/v1", None),
        ({"HTTPS_PROXY": PROXY}, "https://teacher.example/v1", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://teacher.example/v1", None),
        ({"HTTP_PROXY": "proxy:3128"}, "http://teacher.example/v1", PROXY),
        ({"ALL_PROXY": PROXY}, "https://teacher.example/v1", PROXY),
        ({"ALL_PROXY": "http://all:1", "https_proxy": PROXY}, "https://teacher.example/v1", PROXY),
        ({"HTTPS_PROXY": "http://other:1", "https_proxy": PROXY}, "https://teacher.example/v1", PROXY),
        ({"HTTP_PROXY": PROXY}, "http://localhost:8000/v1", None),
        ({"HTTP_PROXY": PROXY}, "http://127.8.0.1:8000/v1", None),
        ({"HTTP_PROXY": PROXY}, "http://[::1]:8000/v1", None),
    ],
)
def test_the_variables_name_the_proxy(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "teacher.example", True),
        ("other, teacher.example", "teacher.example", True),
        ("example", "teacher.example", True),
        (".example", "teacher.example", True),
        ("*.example", "teacher.example", True),
        ("Example", "TEACHER.example", True),
        ("cher.example", "teacher.example", False),
        ("teacher.example:8000", "teacher.example:8000", True),
        ("teacher.example:80", "teacher.example", True),
        ("teacher.example:8001", "teacher.example:8000", False),
        ("http://teacher.example", "teacher.example", True),
        ("https://teacher.example", "teacher.example", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.0/8,svc", "10.1.2.3:8000", True),
        ("10.0.0.0/8,svc", "teacher.ns.svc", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("1.2.3", "7.1.2.3", False),
        ("fd00::/8", "[fd00::1]:8000", True),
        ("::1/128", "teacher.example", False),
        ("", "teacher.example", False),
    ],
)
def test_no_proxy_excepts_names_domains_addresses_and_ranges(
    no_proxy: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(f"http://{host}/v1") == (None if direct else PROXY)


def test_a_proxy_of_another_kind_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    with pytest.raises(UserError, match="ALL_PROXY names a socks5 proxy"):
        proxy_for("https://teacher.example/v1")
    assert proxy_for("http://127.0.0.1:8000/v1") is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://proxy:1080"),
        ("all_proxy", "socks5h://user:hunter22@proxy:1080"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("HTTPS_PROXY", "http://user:hunter22@[::1"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "proxy:99999"),
        ("HTTPS_PROXY", "ftp://proxy:21"),
        ("NO_PROXY", "::1/128"),
        ("NO_PROXY", "localhost,fe80::/10"),
        ("no_proxy", "[::1]"),
        ("NO_PROXY", "svc:http"),
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_DIR", "/no/such/folder"),
        ("SSL_CERT_DIR", __file__),
        ("REQUESTS_CA_BUNDLE", "/no/such/file.pem"),
    ],
)
async def test_a_wrong_variable_is_named_before_anything_is_asked(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=variable.upper()) as caught:
        async with open_engine(EngineConfig(model="m", base_url="https://teacher.example/v1")):
            pass
    assert caught.value.exit_code == 2
    assert "hunter22" not in f"{caught.value} {caught.value.hint}"
    async with open_engine(EngineConfig(model="m", base_url="http://127.0.0.1:8000/v1")):
        pass  # nothing of it counts for a server on this machine


async def test_right_variables_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = tmp_path / "empty folder"
    certificates.mkdir()
    for variable, value in {
        "HTTPS_PROXY": "http://user:pass@proxy:3128",
        "ALL_PROXY": "socks5://proxy:1080",  # another variable goes before it
        "NO_PROXY": "localhost, 127.0.0.1,::1,.svc,*.local,10.0.0.0/8,host:8080,http://other",
        "SSL_CERT_DIR": str(certificates),
        "REQUESTS_CA_BUNDLE": str(certificates),
    }.items():
        monkeypatch.setenv(variable, value)
    async with open_engine(EngineConfig(model="m", base_url="https://teacher.example/v1")) as engine:
        assert engine.concurrency


@pytest.mark.parametrize(
    "url", ["teacher.example/v1", "https://", "ftp://x/v1", "http://x:y/v1", "http://u:hunter22@x:y"]
)
async def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="base_url") as caught:
        async with open_engine(EngineConfig(model="m", base_url=url)):
            pass
    assert "hunter22" not in str(caught.value)
