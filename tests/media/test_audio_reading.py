import tracemalloc

import av
import numpy as np
import pytest
import soundfile

from avfusion.media.audio import BLOCK_SAMPLES, aligned_audio, read_aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.probe import probe
from avfusion.media.video import read_video
from avfusion.media.wav import write_wav
from avfusion.runtime.errors import BadInputError

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
    for name, gain, peak in (("softer", 0.95, 0.4875), ("both", 1, 0.5)):
        sound = np.concatenate([one, gain * one])
        path = media(tmp_path / f"{name}.mov", make_flash(50, 5), TIMES, sound=sound, sound_codec="pcm_s16le")
        assert np.abs(read_aligned_audio(path)).max() == pytest.approx(peak, abs=1e-3)


@pytest.mark.parametrize(
    ("channels", "codec", "heard"),
    [
        *[(6, "aac", [2]), (8, "aac", [2]), (8, "flac", [2])],  # the centre
        *[(9, "pcm_s16le", range(9)), (16, "pcm_s16le", range(16))],
    ],
)
def test_many_channels_are_averaged(tmp_path, media, make_tone, make_flash, channels, codec, heard):
    gains = np.linspace(0.5, 1, channels)[:, None]
    sound = make_tone(2.0, 48000, channels) * gains
    path = media(tmp_path / "many.mkv", make_flash(50, 5), TIMES, sound=sound, rate=48000, sound_codec=codec)
    samples = read_aligned_audio(path)
    assert probe(path).audio_channels == channels
    level = np.sqrt(2 * (samples[4410:80000] ** 2).mean())
    assert level == pytest.approx(0.5 * gains[heard, 0].mean(), rel=5e-3)


def test_too_many_channels_are_refused(tmp_path, media, make_tone, make_flash):
    path = media(
        tmp_path / "65.mkv", make_flash(50, 5), TIMES, sound=make_tone(1.0, 44100, 65), sound_codec="pcm_s16le"
    )
    with pytest.raises(BadInputError, match=r"65.mkv has 65 channels of audio, must be at most 64"):
        read_aligned_audio(path)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 32000, 44100, 96000])
@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_rates_and_sample_formats(tmp_path, media, make_tone, make_flash, rate, codec):
    path = media(
        tmp_path / "pcm.mkv", make_flash(50, 5), TIMES, sound=make_tone(2.0, rate), rate=rate, sound_codec=codec
    )
    samples = read_aligned_audio(path)
    assert len(samples) == 88200
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(88200) / 44100)
    within = slice(500, -500)  # the resampler's filter meets the end of the signal
    np.testing.assert_allclose(samples[within], expected[within], atol=1e-2 if codec == "pcm_u8" else 2e-3)


def test_not_a_number_is_silence_and_too_loud_is_clipped(tmp_path, media, make_flash):
    sound = np.full((1, 88200), 0.25)
    sound[0, 1000:1010], sound[0, 2000:2010], sound[0, 3000:3010] = np.nan, 7.0, -np.inf
    path = media(tmp_path / "nan.mkv", make_flash(50, 5), TIMES, sound=sound, sound_codec="pcm_f32le")
    samples = read_aligned_audio(path)
    assert samples[[999, 1000, 1009, 1010, 2000, 3000]].tolist() == [0.25, 0, 0, 0.25, 1, -1]


def test_late_sound_leaves_zeros_and_long_sound_ends_with_the_video(tmp_path, media, make_tone, make_flash):
    late = media(
        tmp_path / "late.mov", make_flash(50, 5), TIMES, sound=make_tone(5.0), sound_at_s=0.5, sound_codec="pcm_s16le"
    )
    samples = read_aligned_audio(late)
    assert len(samples) == 88200
    assert not samples[: 22050 - 20].any()
    assert np.abs(samples[22050:22100]).max() > 0.4


def test_an_absurd_time_stamp_of_a_picture_takes_no_memory_for_sound(tmp_path, media, make_tone, make_flash):
    video = media(tmp_path / "absurd.mkv", make_flash(50, 5), [*TIMES[:-1], 3 * 3600], sound=make_tone(2.0))
    assert timeline_with_sound(video).end_s > 3 * 3600
    tracemalloc.start()
    try:
        samples = read_aligned_audio(video)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert len(samples) == pytest.approx(88200, abs=2000)


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


def test_a_lost_packet_of_a_speech_codec_moves_nothing(tmp_path, media, make_tone, make_flash):
    sound = make_tone(2.0, 48000, start_s=1.5)
    whole = media(tmp_path / "whole.mkv", make_flash(50, 5), TIMES, sound=sound, rate=48000, sound_codec="libopus")
    lossy = tmp_path / "lossy.mkv"
    with av.open(str(whole)) as source, av.open(str(lossy), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        sounds = 0
        for packet in source.demux():
            sounds += packet.stream.type == "audio"
            if packet.size and not (packet.stream.type == "audio" and sounds == 40):  # 20 ms
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    onsets = [np.flatnonzero(np.abs(read_aligned_audio(path)) > 0.25)[0] / 44100 for path in (whole, lossy)]
    np.testing.assert_allclose(onsets, 1.5, atol=0.002)


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


def test_two_channels_can_be_kept_and_other_numbers_fill_both(tmp_path, media, make_tone, make_flash):
    one = make_tone(2.0)
    for gains, expected in (([1, 0.95], (0.5, 0.475)), ([1], (0.5, 0.5)), ([1, 0, 0, 0], (0.5, 0.5))):
        sound = np.concatenate([gain * one for gain in gains])
        path = media(tmp_path / "s.mkv", make_flash(50, 5), TIMES, sound=sound, sound_at_s=0.5, sound_codec="flac")
        both = np.concatenate(list(aligned_audio(path, timeline_with_sound(path), stereo=True)), axis=1)
        assert both.shape == (2, 88200)
        assert np.abs(both[:, :22000]).max() == 0  # it starts later than the video
        assert np.abs(both).max(axis=1) == pytest.approx(expected, abs=2e-3)
        assert both.mean(axis=0) == pytest.approx(read_aligned_audio(path), abs=1e-4)


def test_a_codec_without_a_decoder_is_empty(tmp_path, media, make_tone, make_flash):
    path = media(tmp_path / "strange.mkv", make_flash(50, 5), TIMES, sound=make_tone(2.0))
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert read_aligned_audio(path).shape == (0,)


def _concatenated(tmp_path, media, make_tone, make_flash, first_s, second_s):
    """Two transport streams, one behind the other in one file; the second changes rate and channels."""
    content = b""
    for name, start_s, rate, channels, lit in (("a", first_s, 48000, 2, 25), ("b", second_s, 32000, 1, 20)):
        times = np.arange(60) / 25 + start_s
        sound = make_tone(2.4, rate, channels, start_s=lit / 25)[:, : round((lit / 25 + 0.4) * rate)]
        part = media(
            tmp_path / f"{name}.ts",
            make_flash(60, lit),
            times,
            sound=sound,
            rate=rate,
            sound_at_s=start_s,
            sound_codec="mp2",
        )
        content += part.read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("second_s", [0.0, 5.0, 60.0], ids=["reset", "gap", "back"])
def test_rate_and_channels_change_where_the_clock_jumps(tmp_path, media, make_tone, make_flash, second_s):
    first_s = 90.0 if second_s == 60.0 else 0.0
    path = _concatenated(tmp_path, media, make_tone, make_flash, first_s, second_s)
    seen = [frame.time_s for frame in read_video(path) if frame.index0 in (25, 80)]
    samples = read_aligned_audio(path)
    loud = np.abs(samples) > 0.25
    onsets = [int(np.flatnonzero(loud)[0]), int(np.flatnonzero(loud & (np.arange(len(loud)) > 1.8 * 44100))[0])]
    assert seen[1] == pytest.approx(second_s + 0.8 if second_s == 5.0 else 3.2, abs=0.1)
    np.testing.assert_allclose(np.array(onsets) / 44100, seen, atol=0.003)
    assert np.abs(samples[onsets[1] + 2000 : onsets[1] + 10000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("second_s", [0.0, 0.4, 0.55], ids=["all", "half", "quarter"])
def test_recordings_whose_clock_steps_back_by_less_than_a_second_are_joined(
    tmp_path, media, make_tone, make_flash, second_s
):
    content = b""
    for start_s in (0.0, second_s):
        sound = make_tone(0.8, 48000, 1, start_s=0.4)
        frames, times = make_flash(20, 10), np.arange(20) / 25 + start_s
        path = media(tmp_path / "part.ts", frames, times, sound=sound, rate=48000, sound_at_s=start_s)
        content += path.read_bytes()
    path.write_bytes(content)
    timeline = timeline_with_sound(path)
    assert timeline.warnings == ("the clock steps back once: joined on",)
    np.testing.assert_allclose(timeline.times_s, np.arange(40) / 25, atol=1e-4)
    assert [f.index0 for f in read_video(path) if f.rgb.mean() > 128] == [10, 11, 12, 30, 31, 32]
    loud = np.flatnonzero(np.abs(read_aligned_audio(path)) > 0.25)
    onsets = [loud[0], loud[loud > 0.95 * 44100][0]]
    np.testing.assert_allclose(np.array(onsets) / 44100, [0.4, 1.2], atol=0.02)


def test_where_two_pieces_overlap_the_one_decoded_first_stays(tmp_path, media, make_tone, make_flash):
    path = media(
        tmp_path / "overlap.mkv",
        make_flash(50, 5),
        TIMES,
        sound=np.concatenate([np.full((1, 44100), 0.5), np.full((1, 44100), -0.5)], axis=1),
        sound_codec="pcm_s16le",
        hole_s=(1.0, -0.3),
    )
    samples = read_aligned_audio(path)
    assert len(samples) == pytest.approx(1.7 * 44100, abs=50)
    np.testing.assert_allclose(samples[1000:44100], 0.5, atol=1e-3)
    np.testing.assert_allclose(samples[44200:], -0.5, atol=1e-3)


def test_blocks_follow_each_other_and_are_small(tmp_path, media, make_tone, make_flash):
    times = np.arange(250) / 25
    path = media(
        tmp_path / "long.mkv", make_flash(250, 5), times, sound=make_tone(5.0, 48000, 2), rate=48000, sound_at_s=4.0
    )
    blocks = list(aligned_audio(path, timeline_with_sound(path)))
    assert all(block.dtype == np.float32 and 0 < len(block) <= BLOCK_SAMPLES for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), read_aligned_audio(path))
    assert not np.concatenate(blocks)[: 3 * 44100].any()
    assert len(blocks) >= 6


def test_wav_is_clipped_and_exact(tmp_path):
    write_wav(
        tmp_path / "a.wav", [np.array([0.0, 0.5]), np.array([-0.25, 2.0, -2.0])], comment=lambda _: "made for a test"
    )
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 44100
    assert samples.tolist() == [0, 16384, -8192, 32767, -32768]
