"""Videos predicted by a model that reads windows of frames."""

import json
from pathlib import Path

import numpy as np
import pytest

from avfusion import Predictor
from avfusion.fusion.reading import Reading
from avfusion.inference.live import LiveValue, predict_live
from avfusion.presentation.model_card import model_card
from avfusion.runtime.errors import BadInputError
from tests.conftest import write_model

LENGTH = 6  # rows, eight frames apart; the video has nine


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    models = tmp_path_factory.mktemp("frames") / "models"
    return Predictor.load(write_model(models, name="temporal_concat", layout="frames", length=LENGTH))


def test_a_video_is_predicted_by_windows(predictor: Predictor, face_video: Path) -> None:
    assert predictor.reading == Reading(LENGTH, 8, 3)
    table = predictor.predict(face_video, uncertainty=True)
    assert len(table) == 65
    assert np.isfinite(table[["valence", "arousal"]]).all(axis=None)
    assert np.ptp(table["valence"]) > 0
    # Windows start at rows 0 and 3: rows 3, 4 and 5, of frames 25 to 41, are in both.
    both = table["valence_sd"].notna()
    assert both[[24, 32, 40]].all()
    assert not both[[0, 8, 16, 48, 56, 64]].any()
    assert predictor.predict(face_video)["valence"].equals(table["valence"])


def test_its_rows_lie_as_far_apart_as_in_training(predictor: Predictor, face_video: Path) -> None:
    assert predictor.spec_at(8) == predictor.spec
    with pytest.raises(
        BadInputError, match=r"stride is 4: must be 8, since temporal_concat reads windows of 48 frames, one every 24"
    ):
        predictor.predict(face_video, stride=4)
    assert model_card(predictor).timing.startswith("overlap; windows of 48 frames, one every 24 frames")


def test_live_values_are_those_of_causal_predict(predictor: Predictor, face_video: Path) -> None:
    values: list[LiveValue] = []
    predict_live(predictor, face_video, values.append, realtime=False)
    table = predictor.predict(face_video, mode="causal")
    assert [value.frame for value in values] == list(range(1, 66, 8))
    for name in ("valence", "arousal"):
        found = [getattr(value, name) for value in values]
        np.testing.assert_allclose(found, table[name].to_numpy()[::8], atol=1e-5)


def test_a_clip_model_on_frames_takes_any_stride(tmp_path: Path, trained_models: Path, face_video: Path) -> None:
    """The same weights, whose features are said to be frames, give the same values."""
    model = write_model(tmp_path / "models", layout="frames")
    found = Predictor.load(model)
    assert json.loads((model / "config.json").read_text())["feature_spec"]["layout"] == "frames"
    assert found.reading == Reading(16, 32)
    expected = Predictor.load(trained_models / "fusion").predict(face_video, stride=16)
    np.testing.assert_array_equal(found.predict(face_video, stride=16)["valence"], expected["valence"])
