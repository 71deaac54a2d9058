"""TRL's trainer with the paper's learning rate. Imported by the worker process only (needs trl)."""

from typing import Any

from trl import SFTTrainer


class CharacterTrainer(SFTTrainer):
    """`SFTTrainer` whose learning rate falls in a straight line to a floor.

    transformers has such a schedule under the name `polynomial`, but it can't read DeepSpeed's optimizers.
    """

    def __init__(self, *args: Any, floor: float, **kwargs: Any) -> None:
        """`floor` is the last learning rate, as a share of the first."""
        super().__init__(*args, **kwargs)
        self._floor = floor

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Linear warm-up from 0, then linear decay to the floor at the last step."""
        from torch.optim.lr_scheduler import LambdaLR

        if self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            floor = self._floor

            def share(step: int) -> float:
                if step < warmup:
                    return step / warmup
                return 1 - (1 - floor) * min(1.0, (step - warmup) / max(1, num_training_steps - warmup))

            self.lr_scheduler = LambdaLR(self.optimizer if optimizer is None else optimizer, share)  # type: ignore[arg-type]
        return self.lr_scheduler
