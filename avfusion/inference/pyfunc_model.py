"""The model as served by MLflow: maps a table of video paths to a table of predictions per frame.

MLflow stores this file as the model's code (models from code: nothing is pickled) and runs it when the model is loaded,
with the package `avfusion` beside it, so that it needs no installation of avfusion.
"""

import logging
import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

SHOWN = 100  # characters of what is no path


class VideoModel(PythonModel):
    """Valence and arousal for every frame of the videos in a table's `video` column.

    Paths are resolved against `AVFUSION_MEDIA_ROOT` (default: the working directory), and paths outside it are refused,
    since a served model could otherwise open any file of its machine.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the predictor from the model's own safetensors and config."""
        from avfusion.inference.predictor import Predictor

        self._predictor = Predictor.load(Path(context.artifacts["fusion"]).parent)
        for note in self._predictor.notes:
            logging.getLogger(__name__).warning(note)

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]
        """Predict all videos of the table; the output has the input's `video` before the columns of the CSV.

        Raises:
            MlflowException: there is no `video` column, a cell holds no path or one outside the media root (it is named
                before any video is read), or a video cannot be read. Of other exceptions MLflow's server shows clients
                only a stack trace.
        """
        from avfusion.runtime.errors import AVFusionError, BadInputError

        try:
            return self._predict(model_input)
        except AVFusionError as error:
            code = INVALID_PARAMETER_VALUE if isinstance(error, BadInputError) else INTERNAL_ERROR
            raise MlflowException(str(error), error_code=code) from error

    def _predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        from avfusion.inference.advice import Advice
        from avfusion.runtime.errors import BadInputError

        if "video" not in model_input.columns:
            raise BadInputError(f"the table needs a column `video`, found: {', '.join(map(str, model_input.columns))}")
        videos = list(model_input["video"])
        paths = [_path_in_row(number, video) for number, video in enumerate(videos, 1)]
        tables = []
        for video, path in zip(videos, paths, strict=True):
            table = self._predictor.analyse(path, advice=Advice()).persons[0].predictions
            table.insert(0, "video", video)
            tables.append(table)
        if not tables:
            raise BadInputError("the table has no row: one video path a row is needed")
        return pd.concat(tables, ignore_index=True)


def _path_in_row(number: int, video: object) -> Path:
    from avfusion.runtime.errors import BadInputError

    try:
        return media_path(video)
    except BadInputError as error:
        raise BadInputError(f"row {number}: {error}") from None


def media_path(video: object) -> Path:
    """The resolved path of a video inside the media root.

    Raises:
        BadInputError: it is no path (null, a number, bytes, blank, with NUL), or the path is outside the media root (by
            `..`, an absolute path or a link).
    """
    from avfusion.runtime.errors import BadInputError

    root = Path(os.environ.get("AVFUSION_MEDIA_ROOT") or Path.cwd()).resolve()
    try:
        if not isinstance(video, str) or not video.strip():
            raise ValueError
        path = (root / video).resolve()
    except (ValueError, OSError, RuntimeError):  # RuntimeError: a link in a circle
        given = ascii(video)
        given = given if len(given) <= SHOWN else f"{given[:SHOWN]}…"
        raise BadInputError(f"video is {given}: must be the path of a file below {root}, as text") from None
    if not path.is_relative_to(root):
        raise BadInputError(f"{video} is outside the media root {root}: set AVFUSION_MEDIA_ROOT to a folder above it")
    return path


mlflow.models.set_model(VideoModel())
