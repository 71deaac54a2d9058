"""The local models of a run: whether their files are whole, before anything is made with them."""

from opencharacter.config.run import RunConfig
from opencharacter.engines.weights import check_local_model
from opencharacter.errors import UserError


def require_whole_models(config: RunConfig, *, here: bool = False) -> None:
    """Raise `UserError` if a folder that the run names as a model is on this machine and not whole.

    Looked at are the weights of all engines and the base model. The message names the key and the file. Where the run
    happens `here`, folders and packages must be on this machine, and models in an object store must be whole.
    """
    models = {f"engines.{name}.weights": engine.weights for name, engine in config.engines.items()}
    models["sft.base_model"] = config.sft.base_model
    faults: list[UserError] = []
    for key, model in models.items():
        try:
            if model:
                check_local_model(model, required=here)
        except UserError as error:
            faults.append(UserError(f"{key}: {error}", hint=error.hint))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise UserError("\n".join(f"{fault}\n  {fault.hint or ''}".rstrip() for fault in faults))
