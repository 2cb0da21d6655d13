import shutil

import numpy as np
import pytest
import soundfile

from avfusion.data.audio import read_audio, read_fingerprint, write_audio
from avfusion.data.audio_store import VERSION, update_audio
from avfusion.data.settings import AudioSettings
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.settings import ExecutionSettings

SERIAL = ExecutionSettings(executor="serial", workers=1)


def test_round_trip_and_fingerprint(tmp_path):
    samples = np.array([0.0, 0.5, -0.25, -1.0, 32767 / 32768], np.float32)
    write_audio(tmp_path / "a.wav", samples, "0123456789abcdef")
    read = read_audio(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, samples)
    assert read_fingerprint(tmp_path / "a.wav") == "0123456789abcdef"
    write_audio(tmp_path / "b.wav", samples, "0123456789abcdef")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_an_empty_file_is_no_sound(tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(0), "f")
    assert read_audio(tmp_path / "a.wav").shape == (0,)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(AVFusionError, match="run the stage `audio`"):
        read_audio(tmp_path / "none.wav")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((10, 2)), 48000)
    with pytest.raises(AVFusionError, match="2 channels at 48000 Hz"):
        read_audio(tmp_path / "stereo.wav")
    assert read_fingerprint(tmp_path / "stereo.wav") is None


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
    # Golden values: where they change for equal inputs, VERSION has to be raised, and they with it.
    samples = read_audio(out / "one.wav")
    assert VERSION == 3
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
