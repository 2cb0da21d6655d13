import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from avfusion import Predictor
from avfusion.backbones.catalogue import extraction_code
from avfusion.data.audio import read_audio, write_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameRow, encode_crop, read_frames, write_frames
from avfusion.data.settings import FramesSettings
from avfusion.inference.predictor import _say_other_code
from avfusion.media.audio import read_aligned_audio
from avfusion.media.face_tracks import face_crops
from avfusion.media.video import read_video
from avfusion.runtime.errors import AVFusionError, BadInputError, UnusableModelError
from avfusion.tracking.registry import ensure_registered

COLUMNS = {
    "frame": "int32",
    "time_s": "float64",
    "valence": "float32",
    "arousal": "float32",
    "face_confidence": "float32",
    "audio_present": "bool",
    "visual_present": "bool",
}


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


@pytest.fixture(scope="module")
def both(predictor: Predictor, face_video: Path) -> pd.DataFrame:
    return predictor.predict(face_video)


def test_one_row_per_frame_with_the_contracts_columns(both: pd.DataFrame) -> None:
    assert {name: str(kind) for name, kind in both.dtypes.items()} == COLUMNS
    assert both["frame"].tolist() == list(range(1, 66))
    assert both["time_s"].to_numpy() == pytest.approx(np.arange(65) / 25, abs=1e-6)
    assert both[["valence", "arousal"]].abs().max().max() <= 1
    assert (both["face_confidence"] > 0.9).all()
    assert both["audio_present"].all()
    assert both["visual_present"].all()


def test_progress_and_repetition(predictor: Predictor, face_video: Path, both: pd.DataFrame) -> None:
    seen: list[tuple[str, int, int]] = []
    again = predictor.predict(face_video, progress=lambda *step: seen.append(step))
    pd.testing.assert_frame_equal(again, both)
    assert [step for step in seen if step[1] == 65] == [("looking for faces", 65, 65), ("cutting crops", 65, 65)]
    assert seen[-1] == ("features", 1, 1)


def test_features_are_those_of_the_features_stage(
    predictor: Predictor, face_video: Path, tmp_path: Path, both: pd.DataFrame
) -> None:
    """The stores in between change no bit: crops as JPEG, sound as 16 bits, features as float16."""
    import torch

    from avfusion.backbones.extraction import FeatureExtractor
    from avfusion.backbones.weights import load_backbone
    from avfusion.data.features import read_features, write_features
    from avfusion.data.geometry import interpolate_to_frames
    from avfusion.fusion.files import load_fusion
    from avfusion.fusion.inference import predict_clips
    from avfusion.fusion.model_folder import ModelFolder

    crops = face_crops(face_video)
    rows = (FrameRow(c.frame, c.time_s, None if c.rgb is None else encode_crop(c.rgb, 95), c.confidence) for c in crops)
    write_frames(tmp_path / "f.parquet", rows)
    sound = read_aligned_audio(face_video)
    assert sound is not None
    write_audio(tmp_path / "a.wav", sound)
    frames = read_frames(tmp_path / "f.parquet")
    folder = ModelFolder.open(Path(predictor.source))
    networks = [load_backbone(folder.backbones[stream].parent, stream)[0] for stream in ("visual", "audio")]
    extractor = FeatureExtractor(*networks, predictor.spec)
    table = extractor.extract_track(frames.time_s, frames.jpeg, read_audio(tmp_path / "a.wav"))
    write_features(tmp_path / "x.safetensors", table)
    stored = read_features(tmp_path / "x.safetensors")
    model, _ = load_fusion(folder.fusion)
    arrays = (stored.audio, stored.visual, stored.audio_present, stored.visual_present)
    clips, _ = predict_clips(model, *map(torch.from_numpy, arrays), stride=8)
    expected = interpolate_to_frames(clips, np.arange(0, 65, 8), np.arange(65) * 1.0)
    assert both[["valence", "arousal"]].to_numpy() == pytest.approx(np.clip(expected, -1, 1), abs=1e-6)


def test_single_streams(predictor: Predictor, face_video: Path, both: pd.DataFrame) -> None:
    audio, visual = (predictor.predict(face_video, stream=stream) for stream in ("audio", "visual"))
    assert audio["audio_present"].all()
    assert not audio["visual_present"].any()
    assert visual["visual_present"].all()
    assert not visual["audio_present"].any()
    for one in (audio, visual):
        assert not np.allclose(one["valence"], both["valence"], atol=1e-4), "each stream counts"
    with pytest.raises(BadInputError, match="both, audio, visual"):
        predictor.predict(face_video, stream="smell")  # type: ignore[arg-type]


def test_a_finer_stride_moves_only_what_lies_between(predictor: Predictor, face_video: Path) -> None:
    fine = predictor.predict(face_video, stride=1)
    assert len(fine) == 65
    assert len(np.unique(np.diff(fine["valence"], 2).round(7))) > 30, "not piecewise linear between every 8th frame"
    with pytest.raises(BadInputError, match=r"stride is 5.*1, 2, 4, 8, 16, 32"):
        predictor.predict(face_video, stride=5)


def test_uncertainty_adds_columns_and_changes_no_value(
    predictor: Predictor, face_video: Path, both: pd.DataFrame
) -> None:
    table = predictor.predict(face_video, uncertainty=True)
    assert list(table.columns) == [*COLUMNS, "valence_sd", "arousal_sd"]
    pd.testing.assert_frame_equal(table[list(COLUMNS)], both)
    spread = table[["valence_sd", "arousal_sd"]].to_numpy()
    assert spread.dtype == np.float32
    assert np.isnan(spread[:32]).all()
    assert (spread[32:] > 0).all()
    with pytest.raises(BadInputError, match="mode causal has one"):
        predictor.predict(face_video, uncertainty=True, mode="causal")


def test_modes(predictor: Predictor, face_video: Path, both: pd.DataFrame) -> None:
    tables = {mode: predictor.predict(face_video, mode=mode)["valence"] for mode in ("overlap", "tile", "causal")}
    assert tables["overlap"].equals(both["valence"])
    assert not np.allclose(tables["tile"], tables["overlap"], atol=1e-6)
    assert not np.allclose(tables["causal"], tables["tile"], atol=1e-6)


def test_no_face_means_sound_alone_and_is_said(predictor: Predictor, faceless_video: Path) -> None:
    said: list[str] = []
    table = predictor.predict(faceless_video, notice=said.append)
    assert len(table) == 65
    assert not table["visual_present"].any()
    assert (table["face_confidence"] == 0).all()
    assert table["audio_present"].all()
    assert any("no face of 40 pixels or more" in text for text in said)


def test_no_audio_means_the_face_alone_and_is_said(predictor: Predictor, silent_video: Path) -> None:
    said: list[str] = []
    table = predictor.predict(silent_video, notice=said.append)
    assert table["visual_present"].all()
    assert not table["audio_present"].any()
    assert any("no audio stream" in text for text in said)


def test_sound_that_cannot_be_decoded_is_said(predictor: Predictor, undecodable_video: Path) -> None:
    said: list[str] = []
    table = predictor.predict(undecodable_video, notice=said.append)
    assert not table["audio_present"].any()
    assert [text for text in said if "face alone" in text] == [
        f"{undecodable_video}: its audio stream cannot be decoded: predicted from the face alone"
    ]
    with pytest.raises(BadInputError, match=r"no audio in it \(its audio stream cannot be decoded\)"):
        predictor.predict(undecodable_video, stream="audio")


def test_faces_are_looked_for_as_for_training(trained_models: Path, face_video: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_models, tmp_path / "models")
    config = tmp_path / "models" / "fusion" / "config.json"
    values = json.loads(config.read_text())

    def model(frames: object) -> Predictor:
        config.write_text(json.dumps(values | {"frames": frames}))
        return Predictor.load(config.parent)

    assert Predictor.load(config.parent).frames == FramesSettings(), "an older model: the defaults"
    coarse = model({"detect_every": 64, "min_confidence": 0.9, "jpeg_quality": 5})
    table = coarse.predict(face_video, stream="visual")
    assert (coarse.frames.detect_every, coarse.frames.jpeg_quality) == (64, 5)
    # Of frames 1 and 65 faces are detected, between them everything is interpolated: a straight line.
    assert np.abs(np.diff(table["face_confidence"], 2)).max() < 1e-6
    assert not np.allclose(
        table["valence"], model({"detect_every": 64}).predict(face_video, stream="visual")["valence"]
    )
    with pytest.raises(BadInputError, match=r"config\.json: frames\.detect_every: .*greater than or equal to 1"):
        model({"detect_every": 0})


def test_small_faces_are_found_when_looked_for(trained_models: Path, face_video: Path, tmp_path: Path) -> None:
    """A face of 49 pixels in a picture of 1920: 16 when it is scaled down to 640."""
    from tests.media.conftest import write_media

    pictures = []
    for frame in list(read_video(face_video))[:40]:
        picture = np.full((1080, 1920, 3), 120, np.uint8)
        picture[300:428, 900:1028] = cv2.resize(frame.rgb, (128, 128), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    video = write_media(tmp_path / "small.mp4", pictures, np.arange(40) / 25)
    model = trained_models / "fusion"
    with pytest.raises(
        BadInputError, match=r"no face of 120 pixels or more \(40 at 640 wide: min_face of Predictor.load lowers it\)"
    ):
        Predictor.load(model).predict(video)
    found = Predictor.load(model, min_face=16)
    assert (found.predict(video)["face_confidence"] > 0.9).all()
    assert (found.predict(video, mode="causal")["face_confidence"] > 0.9).all()
    for bad in (11, 641):
        with pytest.raises(BadInputError, match=rf"min_face is {bad}: must be from 12 to 640"):
            Predictor.load(model, min_face=bad)


def test_presence_is_that_of_the_clip_ending_at_the_frame(predictor: Predictor, half_heard_video: Path) -> None:
    """The sound ends after about a second: clips that begin later are silent, though their stride ends elsewhere."""
    heard = predictor.predict(half_heard_video)["audio_present"].to_numpy()
    sound = read_aligned_audio(half_heard_video)
    assert sound is not None
    first_frame_s = np.maximum(np.arange(65) - 31, 0) / 25
    assert heard.tolist() == (first_frame_s < len(sound) / 44100).tolist()
    assert 50 < heard.sum() < 62


def test_neither_stream_is_an_error(predictor: Predictor, empty_video: Path, silent_video: Path) -> None:
    with pytest.raises(BadInputError, match=r"empty\.mp4: no face of 40 pixels or more .* and no audio"):
        predictor.predict(empty_video)
    with pytest.raises(BadInputError, match=r"silent\.mp4: no audio in it"):
        predictor.predict(silent_video, stream="audio")


def test_bad_media_are_named(predictor: Predictor, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is a letter, not a video\n" * 50)
    script = tmp_path / "script.mp4"
    script.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    for path in (text, script, tmp_path / "missing.mp4"):
        with pytest.raises(BadInputError, match=path.name):
            predictor.predict(path)


def test_layouts_hold_the_same_model(trained_models: Path, tmp_path: Path, project: Path) -> None:
    from avfusion.fusion.model_folder import ModelFolder

    digest = ModelFolder.open(trained_models / "fusion").digest()
    ModelFolder.open(trained_models).copy_to(tmp_path / "copy")
    assert ModelFolder.open(tmp_path / "copy").digest() == digest
    baseline = tmp_path / "models" / "baselines" / "jca"
    shutil.copytree(trained_models / "fusion", baseline)
    shutil.copytree(trained_models / "backbones", tmp_path / "models" / "backbones")
    assert ModelFolder.open(baseline).digest() == digest
    ensure_registered("models/fusion")
    (logged,) = project.glob("mlruns/artifacts/models/*/artifacts")
    assert ModelFolder.open(logged).digest() == digest


def test_uris_and_the_default(project: Path, face_video: Path) -> None:
    before = Predictor.load()
    assert before.source == f"{project / 'models' / 'fusion'} (the registry has no champion)"
    done = ensure_registered("models/fusion")
    from mlflow import MlflowClient

    run_id = MlflowClient().get_model_version("avfusion", done.version).run_id
    default = Predictor.load()
    named = r"models:/avfusion@champion \(version 1, registered 20\d\d-\d\d-\d\d \d\d:\d\d UTC\)"
    assert re.fullmatch(named, default.source), default.source
    assert Predictor.load().source == default.source, "the cache knows it, too"
    for uri in ("models:/avfusion@champion", "models:/avfusion/1", f"runs:/{run_id}/fusion"):
        assert Predictor.load(uri).digest == done.digest == default.digest
    for uri in ("models:/avfusion/7", "models:/nobody@champion", "runs:/" + "0" * 32 + "/fusion", "no/such/folder"):
        with pytest.raises(BadInputError):
            Predictor.load(uri)


def test_code_of_a_model_is_not_run(project: Path) -> None:
    ensure_registered("models/fusion")
    (logged,) = project.glob("mlruns/artifacts/models/*/artifacts")
    for script in (logged / "pyfunc_model.py", logged / "code" / "avfusion" / "__init__.py"):
        script.write_text("raise SystemExit('the code of a model was run')\n")
    assert Predictor.load("models:/avfusion@champion").name == "jca"


def test_parts_that_do_not_belong_together(project: Path, retrain: Callable[..., Path]) -> None:
    fusion = project / "models" / "fusion"
    kept = project / "kept"
    shutil.copytree(fusion, kept)
    retrain(7)
    shutil.rmtree(fusion)
    shutil.copytree(kept, fusion)
    with pytest.raises(BadInputError, match=r"is not the .* backbone that"):
        Predictor.load(fusion)
    retrain(7)
    (project / "models" / "backbones" / "audio.safetensors").unlink()
    with pytest.raises(BadInputError, match="needs the audio backbone"):
        Predictor.load(fusion)


def test_damaged_models_are_named(project: Path) -> None:
    fusion = project / "models" / "fusion"
    weights, config = fusion / "model.safetensors", fusion / "config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(AVFusionError, match=r"model\.safetensors"):
        Predictor.load(fusion)
    weights.write_bytes(whole)
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"fusion": values["fusion"] | {"name": "visual_only", "k": 32}}))
    with pytest.raises(AVFusionError):
        Predictor.load(fusion)
    config.write_text("{")
    with pytest.raises(BadInputError, match=r"config\.json is not readable JSON"):
        Predictor.load(fusion)
    config.unlink()
    with pytest.raises(BadInputError, match="holds no model"):
        Predictor.load(fusion)


def test_device_names(trained_models: Path) -> None:
    import torch

    with pytest.raises(BadInputError, match="must be one of auto, cpu, cuda"):
        Predictor.load(trained_models / "fusion", device="toaster")
    if not torch.cuda.is_available():
        assert Predictor.load(trained_models / "fusion", device="auto").device.type == "cpu"
        with pytest.raises(BadInputError, match="no CUDA"):
            Predictor.load(trained_models / "fusion", device="cuda")


def test_a_uri_outside_a_project_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"no model at models:/avfusion@champion: .* has no MLflow store"):
        Predictor.load("models:/avfusion@champion")
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_not_finite_are_an_error_and_no_numbers(project: Path, face_video: Path) -> None:
    import torch

    predictor = Predictor.load(project / "models" / "fusion")
    with torch.no_grad():
        for weights in predictor._extractor._networks["visual"].parameters():
            weights.mul_(1e4)
    named = r"^model .*/models/fusion cannot be used, since its weights overflow: visual feature of clip \d+ is NaN"
    with pytest.raises(UnusableModelError, match=rf"{named} or infinite in {face_video}$"):
        predictor.predict(face_video)


def test_a_model_of_other_extraction_code_is_used_and_this_is_said_once(
    trained_models: Path, short_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(code: str) -> str:
        models = shutil.copytree(trained_models, tmp_path / f"models-{code[:8]}", dirs_exist_ok=True)
        config = models / "fusion" / "config.json"
        values = json.loads(config.read_text())
        values["feature_spec"]["code"] = code
        config.write_text(json.dumps(values))
        _say_other_code.cache_clear()
        for _ in range(2):
            predictor = Predictor.load(models / "fusion")
            assert predictor.spec.code == code
            predictor.predict(short_video)
        return capsys.readouterr().err

    spec = FeatureSpec.from_dict(json.loads((trained_models / "fusion" / "config.json").read_text())["feature_spec"])
    assert load(extraction_code(spec)) == ""
    assert load("") == "", "a model that does not say"
    said = load("other code")
    assert said.startswith("note: the model was trained on features that other code extracted")
    assert said.count("\n") == 1
