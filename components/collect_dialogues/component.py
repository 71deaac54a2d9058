"""Collect the responses of all shards into one data set."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("collect-dialogues"), install_kfp_package=False)
def collect_dialogues(
    workspace: str,
    run: dict,
    responses: dict,
    inputs: dict,
    engines: dict,
    sessions: dsl.Input[dsl.Dataset],
    characters: dsl.Input[dsl.Dataset],
    rows: dsl.Input[list[dsl.Dataset]],
    dialogues: dsl.Output[dsl.Dataset],
) -> None:
    """Collect the responses of all shards into one data set.

    Reads the finished dialogues from the workspace, in the order of the tasks.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        responses: The section `responses` of the configuration.
        inputs: The section `inputs` of the configuration.
        engines: The section `engines` of the configuration: teachers and judges by name.
        sessions: The instruction sessions, from `ingest`.
        characters: The character profiles.
        rows: The shards of `generate-dialogues`, which it waits for.

    Returns:
        dialogues: The dialogues, one a row.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.engines import EngineConfig
    from opencharacter.synthesis import InputsConfig, ResponsesConfig, collect_dialogues

    with Step("collect-dialogues", workspace, run) as step:
        config = ResponsesConfig.model_validate(responses)
        corpora = InputsConfig.model_validate(inputs).corpora
        teachers = {name: EngineConfig.model_validate(engine) for name, engine in engines.items()}
        sources = (step.ref(sessions), step.ref(characters))
        ref = collect_dialogues(
            config,
            corpora,
            teachers,
            *sources,
            workspace=step.workspace,
            seed=step.seed,
            system_prompt=step.system_prompt,
        )
        step.publish(ref, dialogues)
