"""Where the project is, and the switches that have to be set before its libraries are imported."""

import os
from pathlib import Path

from avfusion.errors import BadInputError


def project_root(start: Path | None = None) -> Path:
    """The folder of the DVC project: `$DVC_ROOT` where DVC sets it, else the nearest folder above with dvc.yaml.

    Raises:
        BadInputError: neither exists.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise BadInputError(f"no avfusion project here: {here} and the folders above it hold no dvc.yaml")


def disable_telemetry() -> None:
    """Switch off the usage reports of MLflow, DVC and Ray, here and in child processes."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["DVC_NO_ANALYTICS"] = "true"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
