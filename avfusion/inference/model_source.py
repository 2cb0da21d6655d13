"""Open the files of a model: the project's default, a folder, or a model in the MLflow store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avfusion.fusion.model_folder import ModelFolder
from avfusion.inference.default_model import located_model


@contextmanager
def opened_model(uri_or_dir: str | Path | None) -> Iterator[tuple[ModelFolder, str]]:
    """Provide the files of a model within a block, and the model's name for people.

    Raises:
        BadInputError: the model does not exist, or its parts do not fit together.
    """
    with located_model(uri_or_dir) as (folder, source):
        yield ModelFolder.open(folder), source
