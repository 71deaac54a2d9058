"""`opencharacter endpoint`: keys that the endpoint then takes."""

from pathlib import Path

from typer.testing import CliRunner

from opencharacter.cli.app import app
from opencharacter.serving.endpoint.access.keys import Limits, read_keys


def new_key(*arguments: str) -> tuple[str, str, int]:
    done = CliRunner().invoke(app, ["endpoint", "key", "new", *arguments])
    return done.stdout, done.stderr.rpartition("shown this once: ")[2].strip(), done.exit_code


def test_the_endpoint_takes_the_keys_of_the_file_that_the_command_writes(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    printed, secret, _ = new_key("web", "--file", str(file), "--tokens-per-day", "5000", "--strict")
    _, other, _ = new_key("bot", "--file", str(file))
    assert printed == ""
    keys = read_keys(file, Limits(tokens_per_day=7))
    web, bot = keys.find(secret), keys.find(other)
    assert web is not None
    assert bot is not None
    assert (web.key.id, web.key.strict, [quota.limit for quota in web.tokens]) == ("web", True, [5000])
    assert (bot.key.id, [quota.limit for quota in bot.tokens]) == ("bot", [7])
    assert secret not in file.read_text()


def test_without_a_file_the_entry_is_printed_and_the_key_stands_apart(tmp_path: Path) -> None:
    printed, secret, _ = new_key("web")
    file = tmp_path / "keys.yaml"
    file.write_text(printed)
    assert read_keys(file, Limits()).find(secret) is not None
    assert secret not in printed


def test_a_file_that_has_the_name_already_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    new_key("web", "--file", str(file))
    before = file.read_text()
    assert isinstance(
        CliRunner().invoke(app, ["endpoint", "key", "new", "web", "--file", str(file)]).exception, Exception
    )
    assert file.read_text() == before
