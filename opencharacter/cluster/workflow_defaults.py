"""Argo's defaults for all workflows, in its controller's ConfigMap: what they make of retries, and ours among them.

Argo merges `templateDefaults.retryStrategy` into the strategy of each template. Kubeflow Pipelines gives a step that
has retries a limit and a backoff, and no policy: the default decides which of its failures are tried again.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from opencharacter.errors import UserError

CONFIG_MAP = "workflow-controller-configmap"
_KEY = "workflowDefaults"
_WHOLE = "config"
"""The one key of a ConfigMap that holds all settings in one text, as Argo allows too."""

_TRIED_AGAIN = {"Always": (True, True), "OnFailure": (True, False), "OnError": (False, True)}
_RETRIES = {"limit": "0", "retryPolicy": "Always"}
"""A step's own limit goes before this one, which is for the loops and branches around it: they are never repeated."""


@dataclass(frozen=True)
class RetryRules:
    """What a cluster tries again."""

    failed: bool
    """A step that failed, by its own error or out of memory, if the cluster file gives it retries."""
    lost: bool
    """A step whose pod was lost: deleted, or gone with its node."""
    repeats: bool
    """Loops, branches and the whole run begin again after a failure, and with them finished tries of the step."""


def retry_rules(config_map: Mapping[str, Any]) -> RetryRules:
    """What the controller's ConfigMap makes of a step's retries. Raises `UserError` if it cannot be read."""
    spec = _defaults(config_map).get("spec") or {}
    default = (spec.get("templateDefaults") or {}).get("retryStrategy") or {}
    failed, lost = _tried_again(default)
    around = default or spec.get("retryStrategy") or {}
    repeats = bool(around) and _tried_again(around)[0] and str(around.get("limit")) != "0"
    return RetryRules(failed, lost, repeats)


def _tried_again(strategy: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a template that failed, and one whose pod was lost, are tried again."""
    policy = strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure")
    return _TRIED_AGAIN.get(policy, (False, False))


def defaults_patch(config_map: Mapping[str, Any], *, group: int) -> dict[str, Any]:
    """A merge patch of the ConfigMap that makes retries those of the cluster file, and gives volumes a group.

    The other defaults stay, such as how long finished runs are kept. Patching twice changes nothing more.
    Raises `UserError` if the ConfigMap cannot be read.
    """
    settings = copy.deepcopy(_settings(config_map))
    spec = settings.setdefault(_KEY, {}).setdefault("spec", {})
    strategy = spec.setdefault("templateDefaults", {}).setdefault("retryStrategy", {})
    strategy.update(_RETRIES)
    spec["podSpecPatch"] = _with_group(spec.get("podSpecPatch") or "{}", group)
    key = _WHOLE if _WHOLE in config_map["data"] else _KEY
    return {"data": {key: yaml.safe_dump(settings if key == _WHOLE else settings[_KEY], sort_keys=False)}}


def _with_group(patch: str, group: int) -> str:
    pod = _mapping(patch, f"{_KEY}.spec.podSpecPatch")
    security = pod.setdefault("securityContext", {})
    security.setdefault("fsGroup", group)
    security.setdefault("fsGroupChangePolicy", "OnRootMismatch")
    return str(yaml.safe_dump(pod, sort_keys=False))


def _defaults(config_map: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = _settings(config_map).get(_KEY) or {}
    return defaults


def _settings(config_map: Mapping[str, Any]) -> dict[str, Any]:
    """All settings where they are one text, else the defaults alone."""
    data = config_map.get("data") or {}
    if _WHOLE in data:
        return _mapping(data[_WHOLE], _WHOLE)
    return {_KEY: _mapping(data.get(_KEY) or "{}", _KEY)}


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{CONFIG_MAP}: {where} is not valid YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{CONFIG_MAP}: {where} is not a mapping")
    return parsed
