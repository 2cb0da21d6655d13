"""Parameters as dvc.lock has them: those that the stages ran with."""

from collections.abc import Mapping
from typing import Any


def changed_keys(ran: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The keys of a stage's parameters that have another value now.

    Args:
        ran: of `params: params.yaml:` of a stage in dvc.lock, by key: a section, or a key inside, as `train.stopping`.
        now: params.yaml.
    """
    return {key for key, value in ran.items() if _value(now, key) != value}


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
