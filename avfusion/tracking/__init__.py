"""MLflow: runs, the logged model, the registry. Nothing else of the library imports mlflow (but sweep/).

Usage reports, progress bars over single files and informational log lines are switched off here, before any module of
this room imports mlflow.
"""

import os
from importlib import import_module
from typing import Any

from avfusion.runtime.project import disable_telemetry

disable_telemetry()
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

__all__ = ["configure", "ensure_registered", "tracked_run"]

_HOMES = {
    "configure": "avfusion.tracking.store",
    "tracked_run": "avfusion.tracking.runs",
    "ensure_registered": "avfusion.tracking.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'avfusion.tracking' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
