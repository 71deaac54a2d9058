"""Look up the present champion in the registry."""

from kfp import dsl

from opencharacter.cluster.images import step_image


@dsl.component(base_image=step_image("get-champion"), install_kfp_package=False)
def get_champion(
    workspace: str,
    run: dict,
    registry: dict,
    champion: dsl.Output[dsl.Model],
) -> None:
    """Look up the present champion in the registry.

    Never cached, so that `evaluate` compares with the champion of today.

    Args:
        workspace: Folder or object store prefix (`s3://...`) that holds all data of the run.
        run: The run's identity: seed, system prompt, fingerprint of the library, hash of each prompt template.
        registry: The section `registry` of the configuration.

    Returns:
        champion: The model behind the alias `champion`; without a digest where there is none.
    """
    from opencharacter.components.runtime import Step, point
    from opencharacter.registry import RegistryConfig, current_champion

    with Step("get-champion", workspace, run):
        found = current_champion(RegistryConfig.model_validate(registry))
        if found is not None:
            point(champion, found.uri, name=found.name, version=found.version, digest=found.digest)
