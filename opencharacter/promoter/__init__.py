"""The promoter: an InferenceService follows an alias of a registered model (docs/design.md, decision 16)."""

from opencharacter.promoter.promoter_config import PromoterConfig, WatchedModel
from opencharacter.promoter.run import log_line, promote_once, run_promoter

__all__ = ["PromoterConfig", "WatchedModel", "log_line", "promote_once", "run_promoter"]
