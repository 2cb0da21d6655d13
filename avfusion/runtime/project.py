"""Find the project, and set the switches that must be set before its libraries are imported."""

import os
import sys
from pathlib import Path

from avfusion.runtime.errors import BadInputError


def workspace_root() -> Path:
    """The folder with dvc.yaml nearest above the working directory, or that itself; stages work below it.

    Raises:
        BadInputError: there is no such folder.
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise BadInputError(f"no avfusion project here: {here} and the folders above it hold no dvc.yaml")


def project_root() -> Path:
    """The project whose MLflow store is used: `$DVC_ROOT` if DVC sets it, else the workspace.

    The two differ inside `dvc exp run --temp`, whose workspace is a temporary copy.
    """
    root = os.environ.get("DVC_ROOT")
    return Path(root) if root else workspace_root()


def use_modules_of(folder: Path) -> None:
    """Make the modules in a project's folder importable, behind all that is installed: its own models."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def disable_telemetry() -> None:
    """Switch off the usage reports of MLflow, DVC and Ray, here and in child processes."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["DVC_NO_ANALYTICS"] = "true"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
