"""The command line as a person meets it: help, exit codes, one message for each fault."""

import subprocess
import sys
from pathlib import Path

import pytest

from opencharacter.cli import main
from opencharacter.config.loading import preset_text


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


HEAVY = ("torch", "transformers", "mlflow", "kserve", "kfp", "openai", "datasets", "numpy", "vllm", "boto3")


def test_help_imports_nothing_heavy() -> None:
    """The cause of a slow --help, rather than its seconds on this machine."""
    code = (
        "import sys\nfrom opencharacter.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("demo", "run", "pipeline", "config", "promote", "serve", "chat"):
        assert command in done.stdout


def test_a_preset_is_shown_as_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("config", "show", "--preset", "demo", capsys=capsys)
    assert code == 0
    assert out == (Path(__file__).parents[2] / "recipes" / "demo.yaml").read_text()


def test_overrides_are_shown_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("config", "show", "--preset", "demo", "--set", "sft.epochs=7", capsys=capsys)
    assert "epochs: 7.0" in out


def test_a_fault_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("config", "validate", "--config", "nowhere.yaml", capsys=capsys)
    assert code == 2
    assert "nowhere.yaml: no such file" in err
    assert "Traceback" not in err


def test_debug_keeps_the_traceback() -> None:
    from opencharacter.errors import UserError

    with pytest.raises(UserError):
        main(["--debug", "config", "validate", "--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("promote", "--model", "m", "--force"), "--reason"),
        (("models", "--model", "m", "--workdir", "nowhere"), "MLFLOW_TRACKING_URI"),
        (("chat", "--character", "nowhere.json"), "nowhere.json"),
        (("report", "--workdir", "nowhere"), "no report"),
        (("run", "--preset", "demo", "--workdir", "s3://bucket/prefix"), "a folder of this machine"),
        (("plan", "--preset", "demo", "--cluster-set", "name=x"), "give --cluster, too"),
        (("pipeline", "compile", "--preset", "demo", "--workspace", "work/demo"), "object store prefix"),
        (("pipeline", "submit", "--preset", "demo", "--dry-run", "--workspace", "s3://"), "object store prefix"),
        (("pipeline", "submit", "--preset", "demo", "--dry-run", "--workspace", "gs://b/p"), "object store prefix"),
        (("config", "show", "--preset", "a1", "--config", "x.yaml", "--full"), "either"),
        (("config", "show", "a1", "--preset", "a2"), "either"),
        (("run", "a1", "--preset", "a2"), "either"),
        (("run", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("plan",), "NAME_OR_FILE"),
        (("config", "show", "x.yaml"), "x.yaml: no such file"),
        (("config", "show", "a9"), "no preset 'a9'"),
        (("config", "shwo"), "'show'"),
        (("plan", "--clustr", "cpu"), "--cluster"),
        (("config", "validate", "demo", "--set", "sft.epoch=1"), "did you mean 'epochs'"),
    ],
)
def test_wrong_use_says_what_to_do(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(
    ("old", "note"),
    [
        (("plan", "--preset", "demo", "--profile", "cpu", "--json"), "note: '--profile' is now '--cluster'"),
        (("cluster", "show", "cpu", "--profile-set=namespace=lab"), "note: '--profile-set' is now '--cluster-set'"),
        (("chat", "--url", "http://localhost", "--help"), "note: '--url' is now '--base-url'"),
        (("pipeline", "run", "--local", "--help"), "note: 'pipeline run' is now 'run'"),
    ],
)
def test_old_commands_and_options_work_with_one_line(
    old: tuple[str, ...], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(*old, capsys=capsys)
    assert (code, err.splitlines()) == (0, [note])
    assert out


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("config", "show"), ()),
        (("config", "validate"), ()),
        (("plan",), ("--json",)),
        (("pipeline", "compile"), ()),
        (("pipeline", "submit"), ("--dry-run", "--no-preflight", "--workspace", "s3://bucket/prefix")),
    ],
)
def test_a_run_is_named_by_position(
    command: tuple[str, ...],
    more: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(preset_text("demo"))
    named = run(*command, "demo", *more, capsys=capsys)
    assert named == run(*command, "--preset", "demo", *more, capsys=capsys)
    assert named[0] == 0
    assert run(*command, "mine.yaml", *more, capsys=capsys)[0] == 0


def test_a_shell_can_complete(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in run("--help", capsys=capsys)[1]


def test_compile_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "a5.yaml"
    code, _, _ = run("pipeline", "compile", "--preset", "a5", "-o", str(target), capsys=capsys)
    assert code == 0
    assert "opencharacter-a5" in target.read_text()
