"""The pipeline: every stage from personas to a deployed champion, in one definition."""

from collections.abc import Callable
from functools import partial
from typing import Any

from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.config.run import RunConfig
from opencharacter.evaluation.choosing import is_elsewhere
from opencharacter.pipelines.placing import place_tasks


def build_pipeline(config: RunConfig, cluster: Cluster | None = None) -> Any:
    """The KFP pipeline of a run; its parameters' defaults are the configuration, its pods are as `cluster` says.

    With `inputs.dataset` the import of published data takes the place of the synthesis stages, with `inputs.characters`
    the import of characters that of the profile stages. The one parameter
    without a default is `workspace`, the folder or prefix where data stay.
    """
    from kfp import dsl
    from kfp.dsl.pipeline_context import Pipeline

    from opencharacter.components.deploy.component import deploy as deploy_step
    from opencharacter.components.evaluate.component import evaluate as evaluate_step
    from opencharacter.components.gate.component import gate as gate_step
    from opencharacter.components.get_champion.component import get_champion
    from opencharacter.components.judge_dialogues.component import judge_dialogues as judge_step
    from opencharacter.components.mix.component import mix as mix_step
    from opencharacter.components.promote.component import promote as promote_step
    from opencharacter.components.register.component import register as register_step
    from opencharacter.components.report.component import report as report_step
    from opencharacter.components.sft.component import sft as sft_step

    default = config.parameters()
    add_characters = _import_characters if config.inputs.characters else _make_characters
    add_data = _add_dataset if config.inputs.dataset else partial(_add_synthesis, add_characters)

    @dsl.pipeline(name=f"opencharacter-{config.name}", description="Personas in, a registered role-play model out.")
    def opencharacter_run(
        workspace: str,
        run: dict = default["run"],
        inputs: dict = default["inputs"],
        engines: dict = default["engines"],
        profiles: dict = default["profiles"],
        responses: dict = default["responses"],
        mix: dict = default["mix"],
        base_model: str = default["base_model"],
        sft: dict = default["sft"],
        evaluate: dict = default["evaluate"],
        gate: dict = default["gate"],
        registry: dict = default["registry"],
        deploy: dict = default["deploy"],
        shards: list[dict] = default["shards"],
        suites: list[dict] = default["suites"],
    ) -> dsl.Artifact:
        common = {"workspace": workspace, "run": run}
        data = add_data(common, inputs, engines, profiles, responses, shards)
        if config.quality:
            judged = judge_step(
                **common,
                quality=config.section("quality"),
                engines=engines,
                dialogues=data["dialogues"],
                characters=data["characters"],
            )
            data["dialogues"] = judged.outputs["judged"]
        mixture = mix_step(
            **common, mix=mix, base_model=base_model, dialogues=data["dialogues"], characters=data["characters"]
        )
        model = sft_step(**common, sft=sft, registry=registry, mixture=mixture.outputs["mixture"])
        incumbent = get_champion(**common, registry=registry).after(model)
        incumbent.set_caching_options(False)
        # Side by side on a cluster; on one machine they would only compete for it.
        with dsl.ParallelFor(suites, name="suites", parallelism=None if cluster else 1) as item:
            scores = evaluate_step(
                **common,
                suite=item.suite,
                suite_digest=item.digest,
                evaluate=evaluate,
                engines=engines,
                base_model=base_model,
                mixture=mixture.outputs["mixture"],
                model=model.outputs["model"],
                champion=incumbent.outputs["champion"],
            )
            if any(is_elsewhere(choice.suite) for choice in config.evaluate.choices):
                # It may have changed since, which the step's arguments do not show; the workspace knows.
                scores.set_caching_options(False)
        version = register_step(
            **common,
            registry=registry,
            model=model.outputs["model"],
            evaluations=dsl.Collected(scores.outputs["evaluation"]),
        )
        version.set_caching_options(False)
        gated = gate_step(
            **common, gate=gate, registry=registry, evaluations=dsl.Collected(scores.outputs["evaluation"])
        )
        if config.gate.labels:
            gated.set_caching_options(False)  # a label file may have grown
        report = report_step(
            **common,
            name=config.name,
            decision=gated.outputs["decision"],
            **data,
            mixture=mixture.outputs["mixture"],
            model=model.outputs["model"],
            evaluations=dsl.Collected(scores.outputs["evaluation"]),
            registered=version.outputs["registered"],
        )
        with dsl.If(gated.outputs["Output"] == True, name="promotion"):  # noqa: E712 (KFP builds the condition)
            champion = promote_step(
                **common,
                registry=registry,
                decision=gated.outputs["decision"],
                registered=version.outputs["registered"],
            )
            champion.set_caching_options(False)
            service = deploy_step(**common, deploy=deploy, promoted=champion.outputs["promoted"])
            service.set_caching_options(False)  # what it applies may have been deleted since
        if cluster:
            # KFP keeps all tasks here, those in loops and branches too: no step can be forgotten.
            place_tasks(Pipeline.get_default_pipeline().tasks.values(), resolve_steps(config, cluster), cluster)
        return report.outputs["report"]

    return opencharacter_run


def _add_synthesis(
    add_characters: Callable[..., dict[str, Any]],
    common: dict[str, Any],
    inputs: Any,
    engines: Any,
    profiles: Any,
    responses: Any,
    shards: Any,
) -> dict[str, Any]:
    from kfp import dsl

    from opencharacter.components.collect_dialogues.component import collect_dialogues
    from opencharacter.components.generate_dialogues.component import generate_dialogues
    from opencharacter.components.ingest.component import ingest as ingest_step

    source = ingest_step(**common, inputs=inputs)
    sessions = source.outputs["sessions"]
    made = add_characters(common, inputs, engines, profiles, shards, personas=source.outputs["personas"])
    characters = made["characters"]
    with dsl.ParallelFor(shards, name="response-shards") as item:
        response_rows = generate_dialogues(
            **common,
            responses=responses,
            inputs=inputs,
            engines=engines,
            shard=item.shard,
            of=item.of,
            sessions=sessions,
            characters=characters,
        )
    dialogues = collect_dialogues(
        **common,
        responses=responses,
        inputs=inputs,
        engines=engines,
        sessions=sessions,
        characters=characters,
        rows=dsl.Collected(response_rows.outputs["rows"]),
    ).outputs["dialogues"]
    return {
        **made,
        "sessions": sessions,
        "response_rows": dsl.Collected(response_rows.outputs["rows"]),
        "dialogues": dialogues,
    }


def _make_characters(
    common: dict[str, Any], inputs: Any, engines: Any, profiles: Any, shards: Any, *, personas: Any
) -> dict[str, Any]:
    from kfp import dsl

    from opencharacter.components.collect_profiles.component import collect_profiles
    from opencharacter.components.generate_profiles.component import generate_profiles

    # The count travels with each item: KFP's driver hides the list that a loop iterates over from the loop's body.
    with dsl.ParallelFor(shards, name="profile-shards") as item:
        profile_rows = generate_profiles(
            **common, profiles=profiles, engines=engines, shard=item.shard, of=item.of, personas=personas
        )
    collected = collect_profiles(
        **common,
        profiles=profiles,
        engines=engines,
        personas=personas,
        rows=dsl.Collected(profile_rows.outputs["rows"]),
    )
    return {
        "personas": personas,
        # KFP takes each `Collected` once.
        "profile_rows": dsl.Collected(profile_rows.outputs["rows"]),
        "characters": collected.outputs["characters"],
    }


def _import_characters(
    common: dict[str, Any], inputs: Any, engines: Any, profiles: Any, shards: Any, *, personas: Any
) -> dict[str, Any]:
    from opencharacter.components.import_characters.component import import_characters

    return {"characters": import_characters(**common, inputs=inputs).outputs["characters"]}


def _add_dataset(
    common: dict[str, Any], inputs: Any, engines: Any, profiles: Any, responses: Any, shards: Any
) -> dict[str, Any]:
    from opencharacter.components.import_dataset.component import import_dataset

    return dict(import_dataset(**common, inputs=inputs).outputs)
