"""The synthesis stages: one call for each profile, one for each row of R, one for each turn of G."""

from collections import defaultdict

from opencharacter.config.run import RunConfig
from opencharacter.planning.inputs import InputCount
from opencharacter.planning.work import Dialogues, Load, Texts, Work

_JSON_TOKENS = 8
"""What R's reply holds around its answers."""


def synthesis(config: RunConfig, inputs: list[InputCount], texts: Texts) -> tuple[list[Work], list[Dialogues]]:
    """The stages up to the dialogues, and the dialogues."""
    if config.inputs.release:
        return _release(config, inputs, texts)
    personas = sum(count.rows for count in inputs if count.what == "personas")
    corpora = [count for count in inputs if count.what == "sessions"]
    ask = 2 * texts.template("profile.md") + texts.template("profile_example.md")
    profiles = Load(
        calls=personas,
        # Each attempt may be followed by a repair.
        calls_at_most=personas * config.profiles.attempts * 2,
        tokens_in=personas * (ask + texts.persona + 3 * texts.assumed("mark_tokens")),
        tokens_out=personas * texts.profile,
    )
    characters = _kept(personas, texts)
    loads: defaultdict[str, Load] = defaultdict(Load)
    made: list[Dialogues] = []
    for corpus, count in zip(config.inputs.corpora, corpora, strict=True):
        cast = min(corpus.n, characters)
        for strategy in dict.fromkeys(corpus.strategies):
            of_strategy = _rewritten if strategy == "R" else _generated
            dialogues, load = of_strategy(config, count, cast, texts)
            loads[corpus.teacher] += load
            made.append(dialogues)
    answered = [
        Dialogues(one.strategy, _kept(one.rows, texts), one.turns, one.text_tokens, _weight(config, one.strategy))
        for one in made
    ]
    kept_rows = sum(one.rows for one in answered)
    read = personas + sum(count.rows for count in corpora)
    read_tokens = sum(count.user_tokens + (count.answer_tokens or 0) for count in inputs)
    profile_bytes, rows = texts.bytes(profiles.tokens_out, personas), sum(one.rows for one in made)
    stages = [
        Work("ingest", read, "personas and sessions", stored_bytes=texts.bytes(read_tokens, read)),
        Work(
            "generate-profiles", personas, "profiles", {config.profiles.teacher: profiles}, stored_bytes=profile_bytes
        ),
        Work("collect-profiles", characters, "characters", stored_bytes=profile_bytes),
        Work("generate-dialogues", rows, "dialogues", dict(loads), stored_bytes=_stored(made, texts)),
        Work("collect-dialogues", kept_rows, "dialogues", stored_bytes=_stored(answered, texts)),
    ]
    return stages, answered


def _rewritten(config: RunConfig, count: InputCount, cast: int, texts: Texts) -> tuple[Dialogues, Load]:
    """R asks once for a session's answers, whatever its turns; sessions without answers have no row."""
    rows = cast * count.answered_rows
    if not rows:
        return Dialogues("R", 0, 1, 0), Load()
    turns = count.answered_turns / count.answered_rows
    asked = count.user_tokens / count.turns * turns
    if count.answer_tokens is None:
        before = after = turns * texts.assumed("answer_tokens")
    else:
        before = count.answer_tokens / count.answered_rows
        after = before * texts.assumed("rewrite_growth")
    most = config.responses.rewrite_sampling.max_tokens
    prompt = texts.template("rewrite.md") + texts.persona + texts.profile + asked + before
    load = Load(
        calls=rows,
        calls_at_most=rows * config.responses.attempts,
        tokens_in=rows * (prompt + texts.assumed("mark_tokens")),
        tokens_out=rows * min(after + _JSON_TOKENS, most),
    )
    return Dialogues("R", rows, turns, asked + min(after, most)), load


def _generated(config: RunConfig, count: InputCount, cast: int, texts: Texts) -> tuple[Dialogues, Load]:
    """G asks once for each user turn, and sends the turns before it again."""
    turns, mark = cast * count.turns, texts.assumed("mark_tokens")
    asked, system = count.user_tokens / count.turns, texts.system({"persona_and_profile": 1})
    again = cast * count.earlier_turns * (asked + texts.answer + 2 * mark)
    calls = round(turns)
    load = Load(
        calls=calls,
        calls_at_most=calls * config.responses.attempts,
        tokens_in=turns * (system + asked + 3 * mark) + again,
        tokens_out=turns * texts.answer,
    )
    of_row = count.turns / count.rows
    return Dialogues("G", cast * count.rows, of_row, of_row * (asked + texts.answer)), load


def _release(config: RunConfig, inputs: list[InputCount], texts: Texts) -> tuple[list[Work], list[Dialogues]]:
    [count] = [count for count in inputs if count.what == "dialogues"]
    answer = texts.answer if count.answer_tokens is None else count.answer_tokens / count.rows
    dialogues = [Dialogues("G", count.rows, 1, count.user_tokens / count.rows + answer, _weight(config, "G"))]
    stored = _stored(dialogues, texts)
    return [Work("import-dataset", count.rows, "dialogues", stored_bytes=stored)], dialogues


def _stored(dialogues: list[Dialogues], texts: Texts) -> float:
    rows = sum(one.rows for one in dialogues)
    return texts.bytes(sum(one.rows * one.text_tokens for one in dialogues), rows)


def _kept(rows: int, texts: Texts) -> int:
    return round(rows * (1 - texts.assumed("rejected_share")))


def _weight(config: RunConfig, strategy: str) -> float:
    return next((weight for name, weight in config.mix.weights.items() if name == strategy), 1.0)
