import av
import numpy as np
import pytest
import soundfile

from avfusion.media.audio import read_aligned_audio
from avfusion.media.probe import probe
from avfusion.media.wav import write_wav

TIMES = np.arange(50) / 25


def test_no_stream_is_none_and_silence_is_sound(tmp_path, media, make_flash):
    mute = media(tmp_path / "mute.mp4", make_flash(50, 5), TIMES)
    assert read_aligned_audio(mute) is None
    assert not probe(mute).has_audio
    silent = media(tmp_path / "silent.mp4", make_flash(50, 5), TIMES, sound=np.zeros((1, 88200)))
    samples = read_aligned_audio(silent)
    assert probe(silent).has_audio
    assert samples.dtype == np.float32
    assert len(samples) == 88200
    assert np.abs(samples).max() < 1e-4


def test_channels_are_averaged(tmp_path, media, make_tone, make_flash):
    one = make_tone(2.0)
    only_left = np.concatenate([one, 0 * one])
    for name, sound, peak in (("left", only_left, 0.25), ("both", np.concatenate([one, one]), 0.5)):
        path = media(tmp_path / f"{name}.mov", make_flash(50, 5), TIMES, sound=sound, sound_codec="pcm_s16le")
        assert np.abs(read_aligned_audio(path)).max() == pytest.approx(peak, abs=1e-3)


def test_surround_is_read(tmp_path, media, make_tone, make_flash):
    path = media(tmp_path / "six.mkv", make_flash(50, 5), TIMES, sound=make_tone(2.0, 48000, 6), rate=48000)
    samples = read_aligned_audio(path)
    assert probe(path).audio_channels == 6
    assert 0.3 < np.abs(samples[4410:-4410]).max() < 0.6


def test_late_sound_leaves_zeros_and_long_sound_ends_with_the_video(tmp_path, media, make_tone, make_flash):
    late = media(
        tmp_path / "late.mov", make_flash(50, 5), TIMES, sound=make_tone(5.0), sound_at_s=0.5, sound_codec="pcm_s16le"
    )
    samples = read_aligned_audio(late)
    assert len(samples) == 88200
    assert not samples[: 22050 - 20].any()
    assert np.abs(samples[22050:22100]).max() > 0.4


def test_a_hole_in_the_stream_is_silent_and_moves_nothing(tmp_path, media, make_tone, make_flash):
    path = media(
        tmp_path / "hole.mkv",
        make_flash(50, 5),
        TIMES,
        sound=make_tone(1.5),
        sound_codec="pcm_s16le",
        hole_s=(0.5, 0.4),
    )
    samples = read_aligned_audio(path)
    assert np.abs(samples[21000:22000]).max() > 0.4
    assert not samples[22200:39500].any()
    assert np.abs(samples[39800:40500]).max() > 0.4
    assert len(samples) == pytest.approx(1.9 * 44100, abs=100)


def test_short_sound_is_not_padded(tmp_path, media, make_tone, make_flash):
    path = media(tmp_path / "short.mov", make_flash(50, 5), TIMES, sound=make_tone(0.5), sound_codec="pcm_s16le")
    assert len(read_aligned_audio(path)) == pytest.approx(22050, abs=2)


def test_sound_wholly_before_the_first_frame_is_empty(tmp_path, media, make_tone, make_flash):
    path = media(tmp_path / "early.mkv", make_flash(50, 5), TIMES + 2.0, sound=make_tone(1.0), sound_codec="pcm_s16le")
    assert read_aligned_audio(path).shape == (0,)


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_sound_that_cannot_be_decoded_is_empty(tmp_path, media, make_tone, make_flash, fill):
    path = media(tmp_path / "broken.mp4", make_flash(50, 5), TIMES, sound=make_tone(2.0))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = bytes([fill]) * packet.size
    path.write_bytes(content)
    assert probe(path).has_audio
    assert read_aligned_audio(path).shape == (0,)


def test_a_codec_without_a_decoder_is_empty(tmp_path, media, make_tone, make_flash):
    path = media(tmp_path / "strange.mkv", make_flash(50, 5), TIMES, sound=make_tone(2.0))
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert read_aligned_audio(path).shape == (0,)


def test_wav_is_clipped_and_exact(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([0.0, 0.5, -0.25, 2.0, -2.0]), comment="made for a test")
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 44100
    assert samples.tolist() == [0, 16384, -8192, 32767, -32768]
