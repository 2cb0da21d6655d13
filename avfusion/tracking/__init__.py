"""MLflow: runs, the logged model, the registry. Nothing else of the library imports mlflow (but sweep/).

Usage reports, progress bars over single files and informational log lines are switched off here, before any module of
this room imports mlflow.
"""

import os

from avfusion.runtime.lazy_names import names_from
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

__getattr__ = names_from(__name__, _HOMES)
