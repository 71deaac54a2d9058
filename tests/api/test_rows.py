"""One row from Python: what a person types into a notebook, against a fake OpenAI server."""

import asyncio
import contextlib
import traceback
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM, Fault

import opencharacter as oc
from opencharacter.records.models import DialogueRow

PERSONA = "A retired lighthouse keeper who writes to strangers."
PROFILE = oc.CharacterProfile(name="Ada", personality="Dry and exact.", persona="A poet of numbers.")


def test_a_persona_becomes_a_whole_profile(fake_llm: FakeLLM) -> None:
    profile = oc.make_profile(f"  {PERSONA}\n", fake_llm.base_url, license="CC0-1.0")
    assert profile.missing == []
    assert profile.persona == PERSONA
    assert profile.provenance is not None
    assert (profile.provenance.model, profile.provenance.licence) == ("fake", "CC0-1.0")


def test_a_dialogue_is_rewritten_and_generated(fake_llm: FakeLLM) -> None:
    teacher = oc.connect(fake_llm.base_url)
    rewritten = oc.rewrite(PROFILE, ["Name a river.", "And a longer one?"], ["The Danube.", "The Nile."], teacher)
    generated = oc.generate(PROFILE, ["Name a river.", "And a longer one?"], teacher)
    for dialogue, strategy in ((rewritten, "R"), (generated, "G")):
        assert (dialogue.strategy, dialogue.status, dialogue.character_id) == (strategy, "ok", PROFILE.id)
        assert [turn.role for turn in dialogue.turns] == ["user", "assistant"] * 2
        assert [turn.content for turn in dialogue.turns[::2]] == ["Name a river.", "And a longer one?"]
    assert fake_llm.calls[-1].request["messages"][0]["content"] == oc.render_prompt(PROFILE)


def test_a_workspace_keeps_answers_and_a_seed_changes_them(fake_llm: FakeLLM, tmp_path: Path) -> None:
    first = oc.make_profile(PERSONA, fake_llm.base_url, workspace=tmp_path)
    made = len(fake_llm.calls)
    assert oc.make_profile(PERSONA, fake_llm.base_url, workspace=str(tmp_path)) == first
    assert len(fake_llm.calls) == made
    assert oc.make_profile(PERSONA, fake_llm.base_url, workspace=tmp_path, seed=1) != first


async def test_every_call_works_where_a_loop_runs(fake_llm: FakeLLM) -> None:
    teacher = oc.connect(fake_llm.base_url)
    assert oc.make_profile(PERSONA, teacher).missing == []
    assert oc.rewrite(PROFILE, "Name a river.", "The Danube.", teacher).status == "ok"
    assert oc.generate(PROFILE, "Name a river.", teacher).status == "ok"
    assert oc.chat(PROFILE, "Name a river.", fake_llm.base_url)


def test_a_chat_uses_the_key_of_its_teacher(fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-teacher")
    assert oc.chat(PROFILE, "Name a river.", oc.connect(fake_llm.base_url, "m", api_key_env="TEACHER_KEY"))
    assert fake_llm.calls[-1].authorization == "Bearer sk-teacher"


async def test_many_are_made_at_once_in_one_workspace(tmp_path: Path) -> None:
    with FakeLLM(delay_s=0.2) as server:
        teacher = await oc.connect_async(server.base_url)
        # The last two are one row: it is asked for once.
        personas = [f"A baker of {loaves} loaves." for loaves in range(6)] + [PERSONA, PERSONA]
        profiles = await asyncio.gather(
            *(oc.make_profile_async(persona, teacher, workspace=tmp_path) for persona in personas)
        )
        assert [profile.persona for profile in profiles] == personas
        assert server.most_at_once > 3
        assert len(server.calls) == 7


def _raised(call) -> oc.OpenCharacterError:  # type: ignore[no-untyped-def]
    with pytest.raises(oc.OpenCharacterError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda url: oc.make_profile(" \n", url), "persona is empty", "lighthouse keeper"),
        (lambda url: oc.make_profile("\u2060\u3164", url), "persona is empty", "lighthouse keeper"),
        (lambda url: oc.generate(PROFILE, [], url), "question is empty", None),
        (lambda url: oc.generate(PROFILE, ["Why?", "\u200b"], url), "question is empty", None),
        (lambda url: oc.generate(PROFILE, "Why\0?", url), "question holds a NUL character", None),
        (lambda url: oc.rewrite(PROFILE, "Why?", ["So.", "And so."], url), "1 questions and 2 answers", "generate"),
        (lambda url: oc.chat(PROFILE, "", url), "message is empty", None),
        (lambda url: oc.connect("localhost:8000"), "not a URL", "http://localhost:8000/v1"),
        (lambda url: oc.connect(url, api_key_env="NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE is empty", "getpass"),
        (lambda url: oc.connect(url, concurency=3), "concurency: unknown key; did you mean 'concurrency'", "keys:"),
        (lambda url: oc.local_model("package:nope", max_len=3), "max_len: unknown key", "keys:"),
        (lambda url: oc.make_profile(PERSONA, "no/such/folder"), "no model 'no/such/folder'", None),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(fake_llm: FakeLLM, call, message: str, hint: str | None) -> None:  # type: ignore[no-untyped-def]
    error = _raised(lambda: call(fake_llm.base_url))
    assert isinstance(error, oc.UserError)
    assert message in str(error)
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize(
    "call",
    [
        lambda url: oc.connect(url),
        lambda url: oc.make_profile(PERSONA, url),
        lambda url: oc.generate(PROFILE, "Why?", oc.connect(url, "some-model")),
        lambda url: oc.chat(PROFILE, "Why?", url),
    ],
)
async def test_no_server_is_one_error_without_the_library_s_frames(call) -> None:  # type: ignore[no-untyped-def]
    error = _raised(lambda: call("http://127.0.0.1:9/v1"))
    assert error.hint
    shown = "".join(traceback.format_exception(error))
    assert "asyncio" not in shown
    assert "httpx" not in shown
    assert f"hint: {error.hint}" in shown
    assert error._render_traceback_() == [f"{type(error).__name__}: {error}", f"hint: {error.hint}"]


def test_a_teacher_that_refuses_is_told(fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("refusal")]
    error = _raised(lambda: oc.generate(PROFILE, "Why?", fake_llm.base_url, attempts=2))
    assert "no usable answer in 2 attempts: refusal" in str(error)
    assert len(fake_llm.calls) == 2


def test_prompt_views() -> None:
    assert "poet of numbers" in oc.render_prompt(PROFILE)
    assert "poet of numbers" not in oc.render_prompt(PROFILE, "profile")
    assert oc.render_prompt(PROFILE, system_prompt="paper").startswith("You are an AI character.")


def test_rows_show_themselves_with_their_text_escaped(fake_llm: FakeLLM) -> None:
    profile = oc.CharacterProfile(name="<b>Ada</b>", personality="<script>alert(1)</script>")
    dialogue = oc.generate(profile, "Is 1 < 2?", fake_llm.base_url)
    assert isinstance(dialogue, DialogueRow)
    for page in (profile._repr_html_(), dialogue._repr_html_()):
        assert "<script" not in page
        assert "<b>Ada" not in page
    assert "Is 1 &lt; 2?" in dialogue._repr_html_()


async def test_an_interrupt_ends_the_work_in_the_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from opencharacter.system.event_loop import run_coroutine

    ended = threading.Event()
    join = threading.Thread.join

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    interrupts = iter([KeyboardInterrupt()])

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        for error in interrupts:
            raise error
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        run_coroutine(work())
    assert ended.is_set()
