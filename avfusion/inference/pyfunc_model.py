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
            MlflowException: there is no `video` column, a path is outside the media root, or a video cannot be read. Of
                other exceptions MLflow's server shows clients only a stack trace.
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
        tables = []
        for video in model_input["video"]:
            table = self._predictor.analyse(media_path(video), advice=Advice()).persons[0].predictions
            table.insert(0, "video", video)
            tables.append(table)
        if not tables:
            raise BadInputError("the table has no row: one video path a row is needed")
        return pd.concat(tables, ignore_index=True)


def media_path(video: str) -> Path:
    """The resolved path of a video inside the media root.

    Raises:
        BadInputError: the path is outside the media root (by `..`, an absolute path or a link).
    """
    from avfusion.runtime.errors import BadInputError

    root = Path(os.environ.get("AVFUSION_MEDIA_ROOT") or Path.cwd()).resolve()
    path = (root / video).resolve()
    if not path.is_relative_to(root):
        raise BadInputError(f"{video} is outside the media root {root}: set AVFUSION_MEDIA_ROOT to a folder above it")
    return path


mlflow.models.set_model(VideoModel())
