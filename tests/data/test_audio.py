import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from avfusion.data.audio import read_audio, read_stamp, restamp, write_audio
from avfusion.data.audio_store import update_audio
from avfusion.data.settings import AudioSettings
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp, library_versions

SERIAL = ExecutionSettings(executor="serial", workers=1)


def test_round_trip_and_stamp(tmp_path):
    samples = np.array([0.0, 0.5, -0.25, -1.0, 32767 / 32768], np.float32)
    write_audio(tmp_path / "a.wav", samples, Stamp("inputs", "code"))
    read = read_audio(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, samples)
    stamp = read_stamp(tmp_path / "a.wav")
    assert (stamp.made, stamp.code, stamp.libraries) == ("inputs", "code", library_versions())
    write_audio(tmp_path / "b.wav", [samples[:2], samples[2:]], Stamp("inputs", "code"))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    write_audio(tmp_path / "c.wav", samples * np.float32(0.5), Stamp("inputs", "code"))
    assert read_stamp(tmp_path / "c.wav").content != stamp.content


def test_another_stamp_changes_nothing_else(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 100_001).astype(np.float32)
    write_audio(tmp_path / "a.wav", samples, Stamp("inputs", "code"))
    stamp = read_stamp(tmp_path / "a.wav")
    restamp(tmp_path / "a.wav", tmp_path / "same.wav", stamp)
    assert (tmp_path / "same.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()
    other = replace(stamp, code="other", vouched=({"by": "x" * 3000},))
    restamp(tmp_path / "a.wav", tmp_path / "b.wav", other)
    assert read_stamp(tmp_path / "b.wav") == other
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav"), read_audio(tmp_path / "a.wav"))


def test_an_empty_file_is_no_sound(tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(0))
    assert read_audio(tmp_path / "a.wav").shape == (0,)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(AVFusionError, match="run the stage `audio`"):
        read_audio(tmp_path / "none.wav")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((10, 2)), 48000)
    with pytest.raises(AVFusionError, match="2 channels at 48000 Hz"):
        read_audio(tmp_path / "stereo.wav")
    assert read_stamp(tmp_path / "stereo.wav") is None


def test_store_holds_one_file_per_video_with_sound(tmp_path, face_video, silent_video, make_track, scanned):
    root = tmp_path / "raw"
    root.mkdir()
    shutil.copyfile(face_video, root / "one.mp4")
    shutil.copyfile(silent_video, root / "mute.mp4")
    tracks = [
        make_track("one_left", "one.mp4", video="one"),
        make_track("one_right", "one.mp4", video="one"),
        make_track("mute", "mute.mp4", has_audio=False),
    ]
    tracks = scanned(root, tracks)
    out = tmp_path / "audio"
    (tmp_path / "audio").mkdir()
    (out / "former.wav").write_bytes(b"")
    report = update_audio(out, root, tracks, AudioSettings(), SERIAL)
    assert (report.made, report.removed) == (("one",), ("former",))
    assert [path.name for path in out.iterdir()] == ["one.wav"]
    samples = read_audio(out / "one.wav")
    assert len(samples) == 114660
    assert np.sqrt((samples**2).mean()) == pytest.approx(0.3 / np.sqrt(2), abs=2e-3)
    time_s = np.arange(len(samples)) / 44100
    expected = 0.3 * np.sin(2 * np.pi * (180 + 60 * np.sin(2 * np.pi * 0.7 * time_s)) * time_s)
    assert np.abs(samples - expected)[2000:-3000].mean() < 0.01
    assert update_audio(out, root, tracks, AudioSettings(), SERIAL).kept == ("one",)
    shutil.copyfile(silent_video, root / "one.mp4")
    (out / "one.wav").unlink()
    with pytest.raises(AVFusionError, match=r"one\.mp4 changed since the last scan: run `avfusion scan`"):
        update_audio(out, root, tracks, AudioSettings(), SERIAL)
