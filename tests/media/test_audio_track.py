"""Which of several audio tracks is heard."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.audio_track import timeline_with_sound
from avfusion.runtime.errors import BadInputError
from tests.media.conftest import flash_frames
from tests.media.damage import overwrite_sound

RATE = 44100


def write_tracks(
    path: Path, levels: list[float], *, default: int | None = None, pictures: bool = True, codec: str = "flac"
) -> Path:
    """Two seconds with an audio track of a tone of each level, in English, German, …"""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25) if pictures else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tracks = []
        for number, language in zip(range(len(levels)), ("eng", "deu", "fra"), strict=False):
            track = container.add_stream(codec, rate=RATE, layout="mono")
            track.metadata.update({"language": language, "title": f"take {number + 1}"})
            if default is not None:
                track.disposition = av.stream.Disposition.default if number == default else 0
            tracks.append(track)
        for index, rgb in enumerate(flash_frames(50, 5) if video else []):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode())
        for track, level in zip(tracks, levels, strict=True):
            wave = level * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            for piece in av.AudioResampler(track.format.name, "mono", RATE).resample(frame):
                container.mux(track.encode(piece))
            container.mux(track.encode())
    return path


def level(path: Path, number: int | None = None) -> float:
    timeline = read_any_timeline(path, audio_track=number)
    return float(np.abs(read_aligned_audio(path, timeline=timeline)).max())


@pytest.mark.parametrize("pictures", [True, False])
def test_a_track_can_be_chosen_by_its_number(tmp_path, pictures):
    path = write_tracks(tmp_path / "t.mkv", [0.2, 0.5, 0.7], default=1, pictures=pictures)
    assert [level(path, number) for number in (1, 2, 3)] == pytest.approx([0.2, 0.5, 0.7], abs=1e-3)
    assert level(path) == pytest.approx(0.5, abs=1e-3), "the one that is marked as default"
    assert read_any_timeline(path).warnings == ()


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_track_that_is_not_there_is_refused_with_those_that_are(tmp_path, number):
    path = write_tracks(tmp_path / "t.mkv", [0.2, 0.5])
    words = (
        rf"t.mkv has 2 audio tracks \(1: eng, take 1, mono; 2: deu, take 2, mono\), so there is no audio track {number}"
    )
    with pytest.raises(BadInputError, match=words):
        timeline_with_sound(path, audio_track=number)


def test_without_sound_no_track_can_be_chosen(tmp_path, media, make_flash):
    path = media(tmp_path / "mute.mp4", make_flash(5, 1), np.arange(5) / 25)
    with pytest.raises(BadInputError, match="has no audio track, so there is no audio track 1"):
        timeline_with_sound(path, audio_track=1)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_silent_default_gives_way_to_a_track_with_sound(tmp_path, suffix):
    path = write_tracks(tmp_path / f"t.{suffix}", [0.0, 0.0, 0.5], default=0)
    assert level(path) == pytest.approx(0.5, abs=1e-3)
    (note,) = timeline_with_sound(path).warnings
    assert note.startswith("audio track 1: eng")
    assert "has no sound: heard from audio track 3: fra" in note
    assert level(path, 1) == 0, "a track that is asked for is taken as it is"


def test_a_default_that_cannot_be_decoded_gives_way(tmp_path):
    path = write_tracks(tmp_path / "t.mp4", [0.5, 0.3], default=0, codec="aac")
    overwrite_sound(path)
    assert level(path) == level(path, 2) > 0.25
    assert "heard from audio track 2" in timeline_with_sound(path).warnings[0]


def test_of_silent_tracks_the_default_is_heard_without_a_word(tmp_path):
    path = write_tracks(tmp_path / "t.mkv", [0.0, 0.0], default=1)
    timeline = timeline_with_sound(path)
    assert timeline.warnings == ()
    assert timeline.audio_index == 2
