"""Read personas and instruction sessions into the workspace."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("ingest"), install_kfp_package=False)
def ingest(
    workspace: str,
    run: dict,
    inputs: dict,
    personas: dsl.Output[dsl.Dataset],
    sessions: dsl.Output[dsl.Dataset],
) -> None:
    """Read personas and instruction sessions into the workspace.

    Sets bad rows aside with file and line, and writes both data sets to the workspace.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        inputs: The section `inputs` of the configuration.

    Returns:
        personas: The personas, one a row.
        sessions: The instruction sessions, one a row.
    """
    from opencharacter.components.runtime import Step
    from opencharacter.synthesis import InputsConfig, ingest

    with Step("ingest", workspace, run) as step:
        ingested = ingest(InputsConfig.model_validate(inputs), workspace=step.workspace, seed=step.seed)
        step.publish(ingested.personas, personas)
        step.publish(ingested.sessions, sessions)
