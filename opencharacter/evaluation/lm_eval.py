"""lm-evaluation-harness as a measure: its tasks and its scoring, read back as our rows.

Standard numbers (IFEval, GSM8K) are comparable only where their own checkers made them, so `lm-eval` runs as a program
of its own, against an endpoint. It is installed by the extra `lm-eval`, and is in an image of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opencharacter.engines import EngineConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.evaluation.subjects import endpoint_identity
from opencharacter.evaluation.summary import summarise
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.evaluation import AnswerRow, ScoreRow
from opencharacter.records.models import Turn
from opencharacter.redaction import redact
from opencharacter.storage.kinds import ANSWERS, SCORES, SUMMARY
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.system.api_keys import read_api_key

SUITE = "lm-eval"
"""The suite that all its scores belong to."""

_LINES_SHOWN = 12
_KEY = "OPENAI_API_KEY"
"""Where lm-eval looks for an endpoint's key."""


@dataclass(frozen=True)
class LmEvalSettings:
    """What lm-eval is asked to do."""

    tasks: tuple[str, ...]
    """Names of its tasks, such as `ifeval` and `gsm8k`; `lm-eval ls tasks` lists them."""
    limit: int | None = None
    """Only the first items of each task."""
    include: Path | None = None
    """A folder with task files of one's own."""
    seed: int = 0


@dataclass
class LmEvalRows:
    """What a run has left: a score for each item and metric, and the answers."""

    scores: list[ScoreRow] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)


def measure_lm_eval(
    settings: LmEvalSettings, models: Mapping[str, EngineConfig], *, workspace: Workspace, scratch: Path
) -> Artifact:
    """Run lm-eval's tasks against models, and keep what it found as an evaluation with the suite `lm-eval`.

    Args:
        settings: Which tasks.
        models: Endpoints by name.
        workspace: Where the evaluation is kept.
        scratch: A folder for lm-eval's own files, by model: the same call after an interruption continues there.

    Returns:
        The output of kind `evaluation`.

    Raises:
        UserError: See `run_lm_eval`; nothing was asked.
        OpenCharacterError: lm-eval fails.
    """
    for endpoint in models.values():
        lm_eval_command(settings, endpoint, scratch)
    asked = {"tasks": settings.tasks, "limit": settings.limit, "seed": settings.seed}
    identities = {name: endpoint_identity(endpoint) for name, endpoint in models.items()}
    key = digest({"step": SUITE, "models": identities, "library": fingerprint()} | asked)
    if found := workspace.lookup("evaluation", key):
        return found
    rows = LmEvalRows()
    for name, endpoint in models.items():
        folder = scratch / digest([identities[name], asked])[:16]
        run_lm_eval(settings, endpoint, folder)
        read = read_lm_eval(folder, model=identities[name])
        rows.scores += read.scores
        rows.answers += read.answers
    about = {"suite": SUITE, "suite_digest": digest(asked), "items_digest": digest(sorted(_items(rows)))}
    with workspace.create("evaluation", key) as draft:
        SCORES.write(draft.path, rows.scores)
        ANSWERS.write(draft.path, rows.answers)
        SUMMARY.write(draft.path, summarise(rows.scores, identities).model_copy(update=about))
        draft.counts |= {"questions": len(_items(rows)), "ok": len(rows.scores)}
    return draft.committed()


def _items(rows: LmEvalRows) -> set[str]:
    return {row.question_id for row in rows.scores}


def run_lm_eval(settings: LmEvalSettings, endpoint: EngineConfig, folder: Path) -> None:
    """Run lm-eval's tasks against an endpoint.

    Args:
        settings: Which tasks.
        endpoint: The model; it has a `base_url`.
        folder: Gets lm-eval's results, its samples, and the cache of its replies: the same call after an interruption
            continues.

    Raises:
        UserError: lm-eval is not installed, or the model's name cannot be given to it.
        OpenCharacterError: It fails; the message holds its last lines.
    """
    command = lm_eval_command(settings, endpoint, folder)
    environment = dict(os.environ)
    if endpoint.api_key_env:
        environment[_KEY] = read_api_key(endpoint.api_key_env, f"model '{endpoint.model}'")
    else:
        environment.setdefault(_KEY, "none")
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines = [*lines, line.rstrip()][-_LINES_SHOWN:]
            print(redact(line.rstrip()), file=sys.stderr)
    if process.returncode:
        last = redact("\n".join(lines))
        raise OpenCharacterError(f"lm-eval ended with code {process.returncode}:\n{last}")


def lm_eval_command(settings: LmEvalSettings, endpoint: EngineConfig, folder: Path) -> list[str]:
    """The command line that runs the tasks. Raises `UserError` where there can be none."""
    program = shutil.which("lm-eval", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        raise UserError(
            "lm-eval is not installed",
            hint="pip install 'opencharacter[lm-eval]', or use the image lm-eval (docs/images.md)",
        )
    if endpoint.base_url is None:
        raise UserError(f"lm-eval measures endpoints, and the model '{endpoint.model}' has no base_url")
    if wrong := set(endpoint.model) & set(",="):
        raise UserError(f"lm-eval takes no model name with '{min(wrong)}': {endpoint.model}")
    arguments = {
        "base_url": f"{endpoint.base_url.rstrip('/')}/chat/completions",
        "model": endpoint.model,
        "num_concurrent": endpoint.concurrency,
        "max_retries": max(1, endpoint.max_retries),
    }
    command = [program, "run", "--model", "local-chat-completions"]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    command += ["--tasks", ",".join(settings.tasks), "--apply_chat_template", "--log_samples"]
    command += ["--output_path", str(folder), "--use_cache", str(folder / "replies"), "--seed", str(settings.seed)]
    command += ["--limit", str(settings.limit)] if settings.limit else []
    return command + (["--include_path", str(settings.include)] if settings.include else [])


def read_lm_eval(folder: Path, *, model: str) -> LmEvalRows:
    """Read the newest results below a folder that lm-eval wrote with `--log_samples`.

    Metrics of which more is not better are left out, and so is what is no number. A metric that judges parts of an
    answer (IFEval's instructions) counts by its mean.

    Args:
        folder: What `--output_path` named.
        model: The model's identity, for the rows.

    Raises:
        UserError: There are no results, or they have no samples.
    """
    found = sorted(folder.rglob("results_*.json"), key=lambda path: path.name)
    if not found:
        raise UserError(f"{folder}: there are no results of lm-eval", hint="expected results_DATE.json")
    newest = found[-1]
    date = newest.stem.removeprefix("results_")
    better: dict[str, dict[str, bool]] = json.loads(newest.read_text(encoding="utf-8")).get("higher_is_better", {})
    rows = LmEvalRows()
    for path in sorted(newest.parent.glob(f"samples_*_{date}.jsonl")):
        task = path.stem.removeprefix("samples_").removesuffix(f"_{date}")
        answered: set[str] = set()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                sample = _Sample(task, json.loads(line), model)
                rows.scores += sample.scores(better.get(task, {}))
                if sample.item not in answered:
                    answered.add(sample.item)
                    rows.answers.append(sample.answer())
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise UserError(f"{path}:{number}: no sample of lm-eval: {type(error).__name__}: {error}") from error
    if not rows.scores:
        raise UserError(f"{newest.parent}: the results have no samples with scores", hint="lm-eval run --log_samples")
    return rows


class _Sample:
    """A line of a samples file: one item, under one of the task's filters."""

    def __init__(self, task: str, line: dict[str, Any], model: str) -> None:
        self._line = line
        self.item = f"{task}/{line['doc_id']}"
        self._task = task
        self._common: dict[str, Any] = {"suite": SUITE, "question_id": self.item, "session_id": self.item}
        self._common |= {"character_id": None, "cell": None, "model": model, "status": "ok"}

    def scores(self, better: dict[str, bool]) -> Iterator[ScoreRow]:
        filtered = self._line.get("filter", "none")
        for metric in self._line["metrics"]:
            value = _number(self._line.get(metric))
            if value is not None and better.get(metric, True):
                name = f"{self._task}/{metric}" + ("" if filtered == "none" else f",{filtered}")
                yield ScoreRow(**self._common, metric=name, score=value)

    def answer(self) -> AnswerRow:
        text = self._line["resps"][0][0]
        return AnswerRow(
            **self._common,
            conversation=list(_turns(self._line["arguments"]["gen_args_0"]["arg_0"])),
            answer=text if isinstance(text, str) else json.dumps(text),
        )


def _number(value: object) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, Sequence) and value and all(isinstance(part, bool | int | float) for part in value):
        return sum(map(float, value)) / len(value)
    return None


def _turns(prompt: object) -> Iterator[Turn]:
    """The messages of a request, which lm-eval keeps as JSON within a list; or a plain prompt."""
    text = prompt[0] if isinstance(prompt, list) else prompt
    try:
        messages = json.loads(str(text))
    except ValueError:
        messages = None
    if not isinstance(messages, list):
        messages = [{"role": "user", "content": str(text)}]
    for message in messages:
        if message["role"] != "system":
            yield Turn(role=message["role"], content=message["content"])
