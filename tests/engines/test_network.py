import pytest

from opencharacter.engines.network import proxy_for
from opencharacter.errors import UserError

PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


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
