"""Models in the store, as folders: only their safetensors and config are fetched, never their code."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.errors import BadInputError
from avfusion.tracking.registry import CHAMPION, REGISTERED_MODEL, champion_version
from avfusion.tracking.store import configure, database_path, store_errors, tracking_uri

SCHEMES = ("models:/", "runs:/")


@contextmanager
def downloaded_model(uri: str, root: Path) -> Iterator[Path]:
    """A temporary folder with `fusion/` and `backbones/` of the model at `uri` (`models:/…`, `runs:/…/name`).

    Raises:
        BadInputError: there is no such model in the store.
    """
    if tracking_uri(root) == f"sqlite:///{database_path(root)}" and not database_path(root).is_file():
        # Asking MLflow would make an empty store here.
        raise BadInputError(
            f"no model at {uri}: {root} has no MLflow store (run `make demo` there, start inside the project, or set "
            "MLFLOW_TRACKING_URI)"
        )
    store = configure(root)
    with tempfile.TemporaryDirectory(prefix="avfusion-model-") as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(f"{uri.rstrip('/')}/artifacts", dst_path=scratch)
        except (MlflowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInputError(f"no model at {uri} in the MLflow store {store}: {reason}") from None
        yield Path(folder)


def champion_uri(root: Path, name: str = REGISTERED_MODEL) -> str | None:
    """`models:/<name>@champion` where the project's registry has a champion, else None; makes no store."""
    uri = tracking_uri(root)
    if uri == f"sqlite:///{database_path(root)}" and not database_path(root).is_file():
        return None
    with store_errors():
        champion = champion_version(MlflowClient(configure(root)), name)
    return f"models:/{name}@{CHAMPION}" if champion is not None else None
