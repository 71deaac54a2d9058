"""What a person sees of a run, from the pipeline's own lines."""

import json

import pytest

from opencharacter.cli.display import RunDisplay


def shown(*lines: str, capsys: pytest.CaptureFixture[str]) -> str:
    with RunDisplay() as display:
        for line in lines:
            display.line(line)
    return capsys.readouterr().out


def test_a_stage_tells_what_it_made(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"ok": 24, "rejected": 2, "bad_rows": 0}
    event = {"event": "step_output", "step": "profiles", "kind": "profiles_rows", "counts": counts, "stats": {}}
    out = shown('    {"event": "step_started", "step": "profiles"}', "    " + json.dumps(event), capsys=capsys)
    assert "profiles …" in out
    assert "24 ok, 2 rejected" in out
    assert "bad rows" not in out


def test_progress_shows_rate_and_remaining_time(capsys: pytest.CaptureFixture[str]) -> None:
    event = {"event": "progress", "stage": "rewrite", "done": 3, "total": 8, "tokens_per_s": 91.6, "errors": 1}
    out = shown(json.dumps(event | {"eta_s": 12.3}), capsys=capsys)
    assert "rewrite 3/8 · 92 tok/s · 1 errors · 12 s left" in out


def test_a_task_that_kfp_spared_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ingest" in shown("Task \x1b[96m'ingest'\x1b[0m cache hit (key=044ec161a6d6); skipping", capsys=capsys)


def test_noise_and_torn_lines_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("12:00:01 - INFO - Streamed logs:", '{"event": "step_st', "", capsys=capsys) == ""
