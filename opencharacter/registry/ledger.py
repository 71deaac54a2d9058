"""The ledger of comparisons: a finished MLflow run for each, in an experiment of their own.

The gate gives each further comparison on the same items against the same champion a smaller level. Deleted runs count
as well, as long as the server has them.
"""

from typing import TYPE_CHECKING

from opencharacter.hashing import digest
from opencharacter.registry.client import mlflow_client
from opencharacter.registry.registered_model import RegistryConfig
from opencharacter.tracking import make_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_FAMILY, _COMPARISON, _POSITION = "family", "comparison", "position"
_PAGE = 1000


class ComparisonLedger:
    """Counts comparisons in MLflow (see `opencharacter.evaluation.ledger.Ledger`)."""

    def __init__(self, config: RegistryConfig) -> None:
        self._experiment = f"{config.experiment}-comparisons"

    def count(self, items: str, rival: str, comparison: str, details: dict[str, str]) -> int:
        """Note a comparison and return its number among those on the same items against the same rival, from 1.

        A comparison that was noted before keeps its number. Of several that are noted at once, none gets a smaller
        number than one after the other would give.

        Args:
            items: Digest of the items.
            rival: Identity of the champion, or of the base model where there is none.
            comparison: Digest of everything that decides the result, scores included.
            details: Further tags of the run, for people.

        Raises:
            UserError: MLFLOW_TRACKING_URI is not set, or the experiment is deleted.
            OpenCharacterError: The server fails.
        """
        with mlflow_client() as client:
            experiment = make_experiment(client, self._experiment)
            family = digest([items, rival])
            known = {run.data.tags[_COMPARISON]: run for run in _runs(client, experiment, family)}
            run = known.get(comparison)
            if run is not None and _POSITION in run.data.tags:
                return int(run.data.tags[_POSITION])
            if run is None:
                tags = {**details, "items_digest": items, "rival": rival, _FAMILY: family, _COMPARISON: comparison}
                run = client.create_run(experiment, run_name=f"comparison {comparison[:12]}", tags=tags)
                client.set_terminated(run.info.run_id)
            # Counted after the run is there: whoever counts later sees it.
            noted = {other.data.tags[_COMPARISON] for other in _runs(client, experiment, family)}
            if run.info.lifecycle_stage == "active":
                client.set_tag(run.info.run_id, _POSITION, str(len(noted)))
            return len(noted)


def _runs(client: "MlflowClient", experiment: str, family: str) -> "list[Run]":
    from mlflow.entities import ViewType

    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.{_FAMILY} = '{family}'",
            run_view_type=ViewType.ALL,
            max_results=_PAGE,
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found
