"""Calibrated values in a table of predictions."""

import pandas as pd

from avfusion.fusion.model_folder import CONFIG, ModelFolder
from avfusion.inference.columns import BANDS
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.calibration import Calibration

NO_CALIBRATION = (
    "has no calibration: `dvc repro train` fits one where the videos that stop the training are of 8 groups or more"
)


def read_calibration(folder: ModelFolder) -> Calibration | None:
    """The calibration in a model's config; None if it has none.

    Raises:
        BadInputError: it is damaged.
    """
    found = folder.config.get("calibration")
    try:
        return Calibration.from_dict(found) if found else None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{folder.fusion / CONFIG}: calibration is damaged ({error!r})") from None


def calibrate(table: pd.DataFrame, calibration: Calibration) -> None:
    """Replace the values of a table by calibrated ones, and add the ends of their bands."""
    values = calibration.apply(table[["valence", "arousal"]].to_numpy())
    table[["valence", "arousal"]] = values
    low, high = calibration.band(values)
    for name, column in zip(BANDS, (low[:, 0], high[:, 0], low[:, 1], high[:, 1]), strict=True):
        table[name] = column
