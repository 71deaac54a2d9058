"""Runs suites: items in, answers, judgements and scores out, with one server start for each model and judge.

The order of work: what needs no answer, all answers of one model after the other, then all judgements of one judge
after the other. Each call is a row of the row store `evaluation`, so a run that was broken off continues, and a second
run asks nothing.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from opencharacter.characters import load_prompt
from opencharacter.engines import EngineConfig
from opencharacter.engines.engine_config import OWN_SERVER_TIMEOUT_S
from opencharacter.errors import UserError
from opencharacter.evaluation.answers import answer_calls
from opencharacter.evaluation.comparison import scoring_of
from opencharacter.evaluation.endpoint_models import ChangedBehindNameError, EndpointModel, read_endpoint_model
from opencharacter.evaluation.grid import pick_smoke_question
from opencharacter.evaluation.judge_calls import is_unusable, judge_task
from opencharacter.evaluation.judges.standing import ask_canaries, report_judges
from opencharacter.evaluation.losses import ForwardPasses
from opencharacter.evaluation.measures import make_measure
from opencharacter.evaluation.measures.protocol import ATTEMPTS, JudgeCall, MeasureBase, Work
from opencharacter.evaluation.personagym.faithful import PERSONA_SCORE
from opencharacter.evaluation.servers import Servers, fair_request
from opencharacter.evaluation.subjects import Judge, Subject, is_same_model
from opencharacter.evaluation.suite import Suite
from opencharacter.evaluation.suite_run import SuiteRun
from opencharacter.evaluation.summary import ALL_TASKS, summarise
from opencharacter.evaluation.turns import Turn
from opencharacter.generation.rows import make_rows
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.records.evaluation import Item, PublishedScore, is_final
from opencharacter.records.models import Usage
from opencharacter.storage.kinds import ANSWERS, CHARACTERS, ITEMS, JUDGEMENTS, JUDGES, SCORES, SMOKE_QUESTION, SUMMARY
from opencharacter.storage.rowstore import RowStore, open_rows
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.system.event_loop import run_coroutine
from opencharacter.templates import Template, load_template


@dataclass(frozen=True)
class Settings:
    """How models are served and measured, whatever the suite."""

    max_model_len: int | None = None
    """Context length of a served subject, tokens; none: the model's own."""
    concurrency: int = 16
    """Requests under way at once to a served subject."""
    passes: ForwardPasses = field(default_factory=ForwardPasses)
    """How losses are measured."""
    fallback: Template | None = None
    """System prompt of models that were not trained for characters; none: the packaged default."""


def run_suites(
    suites: Sequence[Suite],
    subjects: Sequence[Subject],
    judges: Sequence[Judge] = (),
    *,
    workspace: Workspace,
    seed: int = 0,
    settings: Settings = Settings(),
    store: str = "evaluation",
    allow_related: bool = False,
) -> dict[str, Artifact]:
    """Measure models with suites.

    Args:
        suites: What is asked, and how it is measured; measures by judges are left out where there are none.
        subjects: The models. Of two with one identity the first is measured.
        judges: Who judges; a judge that a suite names otherwise (`classifier`, `examples_by`) does only that.
        workspace: Where calls and results are kept.
        seed: Decides samples and the seeds of calls.
        settings: How models are served.
        store: The row store of the calls: two runs at the same time need two.
        allow_related: Let a model judge itself; no decision may rest on that.

    Returns:
        An output of kind `evaluation` for each suite, by its name.

    Raises:
        UserError: The arguments do not fit together. Nothing was asked.
        EngineDown: A model or judge cannot be reached; what is finished is kept.
    """
    settings = replace(settings, passes=replace(settings.passes, chat_template=_chat_template(subjects)))
    distinct = list({subject.identity: subject for subject in reversed(subjects)}.values())[::-1]
    by_name = _check(suites, subjects, judges, allow_related)
    bench = _Bench(workspace, subjects, distinct, by_name, seed, settings, store)
    runs = [bench.suite_run(suite) for suite in suites]
    found = {run.suite.name: workspace.lookup("evaluation", run.key) for run in runs}
    left = [run for run in runs if found[run.suite.name] is None]
    if left:
        run_coroutine(bench.work(left))
        found |= {run.suite.name: bench.commit(run) for run in left}
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def _chat_template(subjects: Sequence[Subject]) -> str:
    """The challenger's template, else the first: a base model that has none is measured with what tuning gave it."""
    ordered = sorted(subjects, key=lambda subject: subject.name != "challenger")
    paths = [subject.folder / "chat_template.jinja" for subject in ordered if subject.folder is not None]
    return next((path.read_text(encoding="utf-8") for path in paths if path.is_file()), "")


def _check(
    suites: Sequence[Suite], subjects: Sequence[Subject], judges: Sequence[Judge], allow_related: bool
) -> dict[str, Judge]:
    for what, names in (
        ("suites", [suite.name for suite in suites]),
        ("models", [subject.name for subject in subjects]),
        ("judges", [judge.name for judge in judges]),
    ):
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise UserError(f"two {what} are called '{twice[0]}'; give each its own name")
    if not suites or not subjects:
        raise UserError(f"nothing to measure: {'no suite' if not suites else 'no model'} was given")
    for judge in judges:
        for subject in subjects:
            if not allow_related and is_same_model(judge, subject):
                raise UserError(
                    f"judge {judge.name} is the model {subject.name} itself: it would judge its own answers",
                    hint="name another judge; with --related-judge it may, and no decision rests on that",
                )
    return {judge.name: judge for judge in judges}


class _Bench:
    """Everything of one call of `run_suites`."""

    def __init__(
        self,
        workspace: Workspace,
        named: Sequence[Subject],
        subjects: Sequence[Subject],
        judges: Mapping[str, Judge],
        seed: int,
        settings: Settings,
        store: str,
    ) -> None:
        self._workspace = workspace
        self._named = named
        self._subjects = subjects
        self._judges = judges
        self._seed = seed
        self._settings = settings
        self._passes = settings.passes
        self._fallback = settings.fallback or load_prompt()
        self._store_name = store
        self._usage = Usage()
        self._endpoints: dict[str, EndpointModel] = {}
        self._began = time.monotonic()

    def suite_run(self, suite: Suite) -> SuiteRun:
        """Check what a suite needs, before anything is asked."""
        measures = [make_measure(each) for each in suite.config.measures]
        special = {name for measure in measures for name in measure.judges()}
        if unknown := sorted(special - self._judges.keys()):
            raise UserError(
                f"suite {suite.name}: needs the judge '{unknown[0]}'; there are: {', '.join(self._judges) or 'none'}"
            )
        judges = [judge for judge in self._judges.values() if judge.name not in special]
        kept = [measure for measure in measures if judges or not measure.needs_judges]
        if not kept:
            raise UserError(f"suite {suite.name}: is measured by a judge, and none was given", hint="name a judge")
        return SuiteRun(suite, kept, judges, self._fallback, self._key(suite, judges))

    def _key(self, suite: Suite, judges: Sequence[Judge]) -> str:
        return digest(
            {
                "step": "evaluate",
                "suite": suite.digest,
                "items": suite.items_digest,
                "models": {subject.name: subject.identity for subject in self._named},
                "system_prompts": [subject.template and subject.template.hash for subject in self._named],
                "fallback": self._fallback.hash,
                "judges": {judge.name: [judge.address, judge.identity] for judge in self._judges.values()},
                "scoring": [judge.name for judge in judges],
                "passes": [self._passes.max_length, self._passes.dtype, self._passes.chat_template],
                "seed": self._seed,
                "canaries": load_template("overall.md").hash,
                "library": fingerprint(),
            }
        )

    async def work(self, runs: Sequence[SuiteRun]) -> None:
        """Ask what is left to ask, and score."""
        for run in runs:
            _ = run.items, run.prompts  # what is wrong with them is found before anything is asked
        async with (
            open_rows(self._workspace.rows(self._store_name), is_final=is_final) as store,
            Servers() as servers,
        ):
            await self._measure(runs, store, servers, needs_answers=False)
            measured = [(list(run.scores), list(run.judgements)) for run in runs]
            self._endpoints = self._read_endpoints(store)
            done = False
            while not done:
                for run, (scores, judgements) in zip(runs, measured, strict=True):
                    run.answers, run.scores, run.judgements = [], list(scores), list(judgements)
                try:
                    await self._answer(runs, store, servers)
                    await self._measure(runs, store, servers, needs_answers=True)
                    done = True
                except ChangedBehindNameError:
                    # What the other model said is kept under its own address; this one is asked all of it.
                    continue

    def _read_endpoints(self, store: RowStore) -> dict[str, EndpointModel]:
        """Of the endpoints among models and judges, by identity."""
        found = {
            subject.identity: read_endpoint_model(store, subject.identity, subject.identity)
            for subject in self._subjects
            if subject.engine is not None
        }
        return found | {
            judge.identity: read_endpoint_model(store, judge.address, judge.identity)
            for judge in self._judges.values()
            if judge.engine.base_url is not None
        }

    def _as_known(self, judge: Judge) -> Judge:
        """The judge with the address of what now answers to its name."""
        endpoint = self._endpoints.get(judge.identity)
        return replace(judge, address=endpoint.address) if endpoint else judge

    async def _answer(self, runs: Sequence[SuiteRun], store: RowStore, servers: Servers) -> None:
        for subject in self._subjects:
            endpoint = self._endpoints.get(subject.identity)
            asked = replace(subject, address=endpoint.address) if endpoint else subject
            calls = [
                call for run in runs for call in answer_calls(run.suite, run.answered, asked, run.prompts, self._seed)
            ]
            if not calls:
                continue
            config = self._engine_of(subject)
            engine = await servers.open(config)
            extra = fair_request(config)
            tasks = (call.task(config.model, extra, endpoint) for call in calls)
            try:
                report = await make_rows(store, tasks, {config.model: engine}, what=f"answers of {subject.name}")
            finally:
                if endpoint is not None:
                    await endpoint.save(store)
            self._usage += report.made
            by_suite = {run.suite.name: run for run in runs}
            for call in calls:
                by_suite[call.suite.name].answers.append(call.read(store))

    def _engine_of(self, subject: Subject) -> EngineConfig:
        if subject.engine is not None:
            return subject.engine
        for judge in self._judges.values():
            if judge.engine.weights == subject.reference:
                return judge.engine  # one server less
        return EngineConfig(
            model=f"opencharacter-{subject.identity[:12]}",
            weights=str(subject.folder),
            timeout_s=OWN_SERVER_TIMEOUT_S,
            concurrency=self._settings.concurrency,
            max_model_len=self._settings.max_model_len,
        )

    async def _measure(
        self, runs: Sequence[SuiteRun], store: RowStore, servers: Servers, *, needs_answers: bool
    ) -> None:
        """Let measures take turns: what all of them want of one model or judge is asked in one go."""
        turns = [
            Turn(run, measure.measure(self._work_of(run, measure)), self._passes)
            for run in runs
            for measure in run.measures
            if measure.needs_answers == needs_answers
        ]
        if needs_answers:
            turns += [
                Turn(run, ask_canaries(self._work(run, run.answered)), self._passes) for run in runs if run.judged
            ]
        waiting = [turn for turn in turns if turn.advance(None)]
        while waiting:
            key, target = next(item for turn in waiting for item in turn.awaited.items())
            while any(key in turn.awaited for turn in waiting):
                requests = [request for turn in waiting for request in turn.requests_to(key)]
                if isinstance(target, Judge):
                    await self._ask(target, requests, store, servers)
                else:
                    await servers.close()  # the forward passes need its memory
                    await self._passes.score(target, [call.messages for call in requests], store)
                for turn in waiting:
                    turn.awaited.pop(key, None)
                waiting = [turn for turn in waiting if turn.awaited or turn.advance(store)]
        for turn in turns:
            turn.run.scores += turn.found.scores
            turn.run.judgements += turn.found.judgements
            turn.run.canaries |= turn.found.canaries

    async def _ask(self, judge: Judge, calls: Sequence[JudgeCall], store: RowStore, servers: Servers) -> None:
        """Ask a judge; a reply that cannot be used is asked for again with other seeds, while its server is there."""
        engine, name = await servers.open(judge.engine), judge.engine.model
        endpoint = self._endpoints.get(judge.identity)
        for attempt in range(1, ATTEMPTS + 1):
            asked = [call.attempt(attempt) for call in calls if attempt == 1 or is_unusable(call, attempt - 1, store)]
            tasks = (judge_task(call, judge, endpoint) for call in asked)
            try:
                report = await make_rows(store, tasks, {name: engine}, what=f"judgements of {judge.name}")
            finally:
                if endpoint is not None:
                    await endpoint.save(store)
            self._usage += report.made
            if not asked:
                break

    def _work_of(self, run: SuiteRun, measure: MeasureBase[Any]) -> Work:
        items = [item for item in run.items if measure.takes(item)]
        return self._work(run, items, answers=measure.needs_answers)

    def _work(self, run: SuiteRun, items: Sequence[Item], *, answers: bool = True) -> Work:
        ids = {item.id for item in items}
        return Work(
            suite=run.suite,
            items=items,
            characters=run.prompts.characters,
            subjects=self._subjects,
            answers=[answer for answer in run.answers if answer.question_id in ids] if answers else [],
            judges=[self._as_known(judge) for judge in run.judges],
            all_judges={name: self._as_known(judge) for name, judge in self._judges.items()},
            seed=self._seed,
            system=run.prompts.message,
        )

    def commit(self, run: SuiteRun) -> Artifact:
        """Write a suite's output."""
        with self._workspace.create("evaluation", run.key) as draft:
            ITEMS.write(draft.path, run.items)
            CHARACTERS.write(draft.path, run.prompts.characters.values())
            ANSWERS.write(draft.path, run.answers)
            JUDGEMENTS.write(draft.path, run.judgements)
            SCORES.write(draft.path, run.scores)
            if run.judged:
                report = report_judges(run.judges, self._named, run.answers, run.judgements, run.scores, run.canaries)
                JUDGES.write(draft.path, report)
            models = {subject.name: subject.identity for subject in self._named}
            families = [(each.name, each.family) for each in self._named] + [(j.name, j.family) for j in run.judges]
            about = {
                "suite": run.suite.name,
                "suite_digest": run.suite.digest,
                "items_digest": run.suite.items_digest,
                "system_prompt": run.suite.config.system_prompt,
                "judges": {judge.name: judge.identity for judge in run.judges},
                "families": {name: family for name, family in families if family},
            }
            if self._endpoints:
                about |= {"endpoints": {identity: str(endpoint) for identity, endpoint in self._endpoints.items()}}
            if run.suite.config.notice:
                about |= {"notice": run.suite.config.notice}
            if published := {name: scores for name, model in models.items() if (scores := _published(run, model))}:
                about |= {"published": published}
            overall = PERSONA_SCORE if run.suite.name.startswith("personagym") else ALL_TASKS
            summary = summarise(run.scores, models, scoring_of(run.suite.config), overall=overall)
            SUMMARY.write(draft.path, summary.model_copy(update=about))
            if (smoke_question := pick_smoke_question(run.items, run.prompts.characters)) is not None:
                SMOKE_QUESTION.write(draft.path, json.dumps(smoke_question, ensure_ascii=False))
            draft.counts |= {"questions": len(run.items)} | Counter(row.status for row in run.scores)
            draft.stats |= {
                "wall_s": round(time.monotonic() - self._began, 3),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "usage": self._usage.model_dump(),
            }
        return draft.committed()


def _published(run: SuiteRun, model: str) -> dict[str, PublishedScore]:
    """A model's scores in the form of a published benchmark, from the measures that have one."""
    rows = [row for row in run.scores if row.model == model]
    return {name: score for measure in run.measures for name, score in measure.published(rows).items()}
