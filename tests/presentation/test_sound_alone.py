"""Files of sound without pictures, at every door of the package."""

import base64
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile

from avfusion import Predictor
from avfusion.cli import main
from avfusion.inference.live import LiveValue, predict_live
from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.presentation.overlay import write_overlay
from avfusion.presentation.video_report import write_video_report
from avfusion.runtime.errors import BadInputError
from avfusion.serving.limits import Limits
from avfusion.serving.model_process import inspect_upload, predict_upload
from tests.media.test_audio_timeline import write_sound_file
from tests.media.test_audio_track import write_tracks
from tests.presentation.test_overlay import one
from tests.presentation.test_video_report import CARD, Page

NOTE = "sound without pictures: predicted from the voice, 25 rows per second"


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


@pytest.fixture(scope="module")
def voice(face_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound of a video of 65 frames at 25 fps."""
    path = tmp_path_factory.mktemp("sound") / "voice.wav"
    soundfile.write(path, read_aligned_audio(face_video), 44100, subtype="FLOAT")
    return path


@pytest.fixture
def predict(trained_models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `avfusion predict` with the trained model; gives its exit code."""

    def run(*arguments: object) -> int:
        command = ("avfusion", "predict", "--model", trained_models / "fusion", *arguments)
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


@pytest.mark.parametrize("options", [{}, {"people": "all"}, {"mode": "causal"}, {"stream": "audio"}])
def test_values_are_those_of_a_video_with_this_sound(
    predictor: Predictor, face_video: Path, voice: Path, options: dict[str, str]
) -> None:
    notes: list[str] = []
    analysis = predictor.analyse(voice, notice=notes.append, **options)  # type: ignore[arg-type]
    (person,) = analysis.persons
    expected = predictor.predict(face_video, stream="audio", mode=options.get("mode"))  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(person.predictions, expected, atol=1e-6)
    assert not person.predictions["visual_present"].any()
    assert (person.predictions["face_confidence"] == 0).all()
    assert person.predictions["audio_present"].all()
    assert notes == [f"{voice}: {NOTE}"]
    assert (analysis.width, analysis.height, analysis.fps) == (0, 0, 25)


def test_live_gives_the_values_of_causal_predict(predictor: Predictor, voice: Path) -> None:
    values: list[LiveValue] = []
    predict_live(predictor, voice, values.append, realtime=False)
    table = predictor.predict(voice, mode="causal")
    rows = [value.frame - 1 for value in values]
    assert len(rows) > 5
    np.testing.assert_allclose([value.valence for value in values], table["valence"].to_numpy()[rows], atol=1e-5)
    assert not any(value.visual_present for value in values)


def test_the_command_writes_table_trace_overlay_and_report(
    voice: Path, tmp_path: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    song = write_sound_file(tmp_path / "song.mp3", "libmp3lame", cover=True)
    call = (voice, song, "-o", tmp_path / "out", "--overlay", "--report", "--format", "json")
    assert predict(*call) == 0
    told = capsys.readouterr()
    assert f"note: {song}: {NOTE}" in told.err
    assert "song.json: 75 rows (3.0 s), mean valence" in told.out
    assert "from the voice alone" in told.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("json", "trace.png", "overlay.mp4", "report.html")
    assert names == {f"{stem}.{kind}" for stem in ("voice", "song") for kind in kinds}
    rows = json.loads((tmp_path / "out" / "song.json").read_text())["frames"]
    assert [row["time_s"] for row in rows] == pytest.approx(np.arange(75) / 25)
    assert {row["face_confidence"] for row in rows} == {0}
    assert predict(*call) == 0
    assert capsys.readouterr().out.count("done before") == 2


def test_the_visual_stream_is_refused_in_a_line(
    voice: Path, tmp_path: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(voice, "-o", tmp_path, "--stream", "visual") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {voice} has sound and no pictures, so there is no visual stream"]
    assert list(tmp_path.iterdir()) == []


def test_a_chosen_audio_track_is_heard_and_belongs_to_what_was_done(
    predict: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tracks(tmp_path / "t.mka", [0.02, 0.7], pictures=False)
    call = (path, "-o", tmp_path / "out")
    tables = []
    for options, done in (((), 0), (("--audio-track", 2), 0), (("--audio-track", 2), 1), (("--audio-track", 1), 0)):
        assert predict(*call, *options) == 0
        assert capsys.readouterr().out.count("done before") == done
        tables.append((tmp_path / "out" / "t.csv").read_text())
    assert tables[0] == tables[3] != tables[1] == tables[2]
    assert predict(*call, "--audio-track", 3) == 2
    assert "has 2 audio tracks (1: eng, take 1, mono; 2: deu, take 2, mono), so there" in capsys.readouterr().err


def test_live_hears_the_chosen_audio_track(predictor: Predictor, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "t.mka", [0.02, 0.7], pictures=False)
    heard = {}
    for track in (None, 2):
        values: list[LiveValue] = []
        predict_live(predictor, path, values.append, realtime=False, audio_track=track)
        heard[track] = [value.arousal for value in values]
        table = predictor.predict(path, mode="causal", audio_track=track)
        assert heard[track] == pytest.approx([table["arousal"][value.frame - 1] for value in values], abs=1e-5)
    assert not np.allclose(heard[None], heard[2], atol=1e-3)


def test_the_page_plays_what_was_heard(predictor: Predictor, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "t.mka", [0.02, 0.5], pictures=False)
    table = predictor.predict(path, audio_track=2)
    write_video_report(path, tmp_path / "p.html", one(table), CARD, audio_track=2)
    page = Page(tmp_path / "p.html")
    assert [player["id"] for player in page.named("audio")] == ["video"]
    assert page.named("video") == page.named("img") == []
    (tmp_path / "heard.m4a").write_bytes(base64.b64decode(page.scripts["media"]))
    timeline = read_any_timeline(tmp_path / "heard.m4a")
    assert timeline.end_s == pytest.approx(2, abs=0.001)
    heard = read_aligned_audio(tmp_path / "heard.m4a", timeline=timeline)
    np.testing.assert_allclose(
        heard[2000:80000],
        read_aligned_audio(path, timeline=read_any_timeline(path, audio_track=2))[2000:80000],
        atol=0.05,
    )
    assert json.loads(page.scripts["data"])["lead"] == 0


def test_the_overlay_has_traces_and_sound(predictor: Predictor, voice: Path, tmp_path: Path) -> None:
    analysis = predictor.analyse(voice)
    write_overlay(voice, tmp_path / "o.mp4", analysis.persons)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 65
    assert pictures[40][60:350].max() < 60, "an empty picture"
    assert np.abs(pictures[10][360:].astype(int) - pictures[60][360:]).max() > 100, "above changing traces"


def test_the_server_takes_sound(
    voice: Path, trained_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)  # restored: the server's work changes it
    (tmp_path / "video").write_bytes(voice.read_bytes())
    inspection = inspect_upload(tmp_path / "video", Limits().media())
    assert (inspection.frames, inspection.duration_s) == (65, pytest.approx(2.6, abs=0.001))
    predict_upload(trained_models / "fusion", "cpu", None, tmp_path, "voice.wav", "main", lambda *_: None)
    result = json.loads((tmp_path / "result.json").read_text())
    assert NOTE in result["notes"]
    assert len(result["columns"]["valence"]) == 65
    assert set(result["columns"]["face_confidence"]) == {0}


def test_speech_on_one_side_gives_the_same_values_with_a_note(
    predictor: Predictor, voice: Path, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(voice)
    expected = predictor.predict(voice)
    for sides in ([samples, 0 * samples], [samples, -samples]):
        soundfile.write(tmp_path / "side.wav", np.stack(sides, axis=1), rate, subtype="FLOAT")
        notes: list[str] = []
        pd.testing.assert_frame_equal(
            predictor.predict(tmp_path / "side.wav", notice=notes.append), expected, atol=1e-6
        )
        assert any("heard from the left one alone" in note for note in notes)


def test_neither_picture_nor_sound_is_named(predictor: Predictor, tmp_path: Path) -> None:
    path = write_sound_file(tmp_path / "strange.mka", "aac", form="matroska")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(BadInputError, match="has no picture, and no sound that can be decoded"):
        predictor.predict(path)
