"""The overlay is decoded again: its times, its sound, its colours, and what is drawn where."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.inference.analysis import Person
from avfusion.media.audio import aligned_audio, read_aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.mp4_writer import mp4_writer
from avfusion.media.video import read_video
from avfusion.presentation.overlay import BOX, overlay_provenance, write_overlay
from avfusion.presentation.overlay_panel import BRIGHT, LONGEST, TARGETS, Panel, clock, plan_layout, signed
from avfusion.presentation.person_marks import COLOURS
from avfusion.runtime.errors import BadInputError

RATE = 48000
NO_FACE = [np.nan] * 4


def write_source(
    path: Path,
    frames: Sequence[np.ndarray],
    times_s: Sequence[float],
    *,
    sound: np.ndarray | None = None,
    rotation: int | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
) -> Path:
    """A video of these (H, W, 3) frames and, from its beginning on, (channels, n) of sound at 48 kHz."""
    options = {"crf": "12"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = video.time_base = Fraction(1, 30000)
        if rotation is not None:
            video.set_display_rotation(rotation)
        layout = "stereo" if sound is not None and len(sound) == 2 else "mono"
        audio = container.add_stream("aac", rate=RATE, layout=layout) if sound is not None else None
        for rgb, time_s in zip(frames, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = round(time_s * 30000), Fraction(1, 30000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32), "fltp", layout)
            piece.sample_rate, piece.time_base, piece.pts = RATE, Fraction(1, RATE), 0
            container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path


def predictions(times_s: Sequence[float], **columns: object) -> pd.DataFrame:
    values: dict[str, object] = {
        "frame": np.arange(1, len(times_s) + 1, dtype=np.int32),
        "time_s": np.asarray(times_s, float),
        "valence": np.float32(0),
        "arousal": np.float32(0),
        "face_confidence": np.float32(0.97),
        "audio_present": True,
        "visual_present": True,
    }
    return pd.DataFrame(values | columns)


def one(table: pd.DataFrame, boxes: Sequence[Sequence[float]] | np.ndarray | None = None) -> list[Person]:
    """One person, who has no boxes by default."""
    return [Person("", table, np.array([NO_FACE] * len(table) if boxes is None else boxes))]


def near(image: np.ndarray, colour: Sequence[int], within: int) -> np.ndarray:
    """(H, W) bool: the pixels of about that colour."""
    return np.abs(image.astype(int) - colour).max(axis=2) <= within


def frames_of(path: Path) -> list[np.ndarray]:
    return [frame.rgb for frame in read_video(path)]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source of uneven times with a white flash at frame 21 and, left only, a tone from then on; and its overlay."""
    folder = tmp_path_factory.mktemp("uneven")
    steps = np.tile([0.02, 0.1, 0.04, 0.06, 0.08], 8)
    times_s = np.concatenate([[0.0], np.cumsum(steps)])
    flash = [np.full((48, 64, 3), 240 if index == 20 else 20, np.uint8) for index in range(len(times_s))]
    at = np.arange(round(2.5 * RATE)) / RATE
    left = np.where(at >= times_s[20], 0.5 * np.sin(2 * np.pi * 1000 * at), 0)
    source = write_source(folder / "uneven.mp4", flash, times_s, sound=np.stack([left, np.zeros_like(left)]))
    write_overlay(source, folder / "o.mp4", one(predictions(times_s)), provenance={"video": "<b>ü", "model": "m"})
    return source, folder / "o.mp4"


def test_every_frame_is_there_at_its_time(uneven: tuple[Path, Path]) -> None:
    source, overlay = (timeline_with_sound(path) for path in uneven)
    assert overlay.frames == source.frames == 41
    assert overlay.times_s == pytest.approx(source.times_s, abs=1e-4)
    assert np.ptp(np.diff(overlay.times_s)) > 0.07
    assert overlay.end_s == pytest.approx(source.end_s, abs=2e-3)
    brightness = [frame[:300, :300].mean() for frame in frames_of(uneven[1])]
    assert np.argmax(brightness) == 20
    assert sorted(brightness)[-2] < 40


def test_the_sound_is_in_time_and_both_of_its_channels_are_kept(uneven: tuple[Path, Path]) -> None:
    timeline = timeline_with_sound(uneven[1])
    assert timeline.audio_channels == 2
    assert timeline.audio_start_s == pytest.approx(0, abs=1e-3)
    left, right = np.concatenate(list(aligned_audio(uneven[1], timeline, stereo=True)), axis=1)
    assert len(left) == pytest.approx(timeline.end_s * 44100, abs=1100)
    assert np.argmax(np.abs(left) > 0.1) / 44100 == pytest.approx(timeline.times_s[20], abs=0.01)
    assert np.abs(left[60000:90000]).max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(right).max() < 0.01


def test_browsers_play_it_while_it_loads(uneven: tuple[Path, Path]) -> None:
    content = uneven[1].read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    with av.open(str(uneven[1])) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (video.width % 2, video.height % 2) == (0, 0)


def test_it_says_where_it_comes_from(uneven: tuple[Path, Path]) -> None:
    assert overlay_provenance(uneven[1]) == {"video": "<b>ü", "model": "m"}
    assert overlay_provenance(uneven[0]) == {}
    assert overlay_provenance(uneven[0].parent / "none.mp4") == {}


def test_the_box_lies_on_the_face_in_the_upright_picture_and_only_where_there_is_one(tmp_path: Path) -> None:
    """Coded 480x640 and shown turned: the upright picture is 640x480, its left half red, its right half blue."""
    upright = np.zeros((480, 640, 3), np.uint8)
    upright[:, :320], upright[:, 320:] = (180, 40, 40), (40, 40, 180)
    times = [index / 25 for index in range(6)]
    source = write_source(tmp_path / "s.mp4", [np.rot90(upright, -1)] * 6, times, rotation=90)
    boxes = np.array([[400.0, 120.0, 100.0, 150.0]] * 3 + [NO_FACE] * 3)
    table = predictions(times, face_confidence=np.array([0.97] * 3 + [0.0] * 3, np.float32))
    write_overlay(source, tmp_path / "o.mp4", one(table, boxes))
    drawn = frames_of(tmp_path / "o.mp4")
    assert drawn[0].shape == (640, 640, 3)  # the panel is below
    assert drawn[0][100, 100] == pytest.approx((180, 40, 40), abs=8)
    assert drawn[0][300, 600] == pytest.approx((40, 40, 180), abs=8)
    lines = near(drawn[0][:480], BOX, 70)
    outline = np.zeros_like(lines)
    for side in (np.s_[118:273, 398:403], np.s_[118:273, 498:503], np.s_[118:123, 398:503], np.s_[268:273, 398:503]):
        outline[side] = True
    assert (lines & outline).sum() > 400
    label = np.zeros_like(lines)
    label[100:120, 396:450] = True
    assert 20 < (lines & label).sum() < 300  # the confidence, above the box
    assert not (lines & ~outline & ~label).any()
    for frame in drawn[3:]:
        assert not near(frame[:480], BOX, 70).any()


def test_a_source_without_sound_and_one_whose_sound_is_damaged(
    silent_video: Path, undecodable_video: Path, tmp_path: Path
) -> None:
    for source in (silent_video, undecodable_video):
        times = timeline_with_sound(source).times_s
        write_overlay(source, tmp_path / "o.mp4", one(predictions(times)))
        assert timeline_with_sound(tmp_path / "o.mp4").audio_start_s is None
        assert len(frames_of(tmp_path / "o.mp4")) == 65


def test_a_mono_sound_stays_mono_and_ends_where_it_ends(half_heard_video: Path, tmp_path: Path) -> None:
    times = timeline_with_sound(half_heard_video).times_s
    seen: list[tuple[str, int, int]] = []
    overlay = tmp_path / "o.mp4"
    write_overlay(half_heard_video, overlay, one(predictions(times)), progress=lambda *step: seen.append(step))
    timeline = timeline_with_sound(overlay)
    assert timeline.audio_channels == 1
    assert timeline.audio_end_s == pytest.approx(1.0, abs=0.05)
    ours, theirs = read_aligned_audio(overlay), read_aligned_audio(half_heard_video)
    assert ours is not None
    assert theirs is not None
    assert np.corrcoef(ours[2000:40000], theirs[2000:40000])[0, 1] > 0.99  # not shifted by a sample
    assert (seen[0], seen[-1]) == (("overlay", 1, 65), ("overlay", 65, 65))


def test_a_last_frame_that_stays_is_heard_to_its_end(tmp_path: Path) -> None:
    with mp4_writer(tmp_path / "s.mp4", (640, 360), fps=25, channels=1) as source:
        source.sound(0.3 * np.sin(np.arange(2 * 44100, dtype=np.float32) / 20)[None])
        for at, length in ((0, 0.04), (0.04, 1.96)):
            source.picture(np.zeros((360, 640, 3), np.uint8), at, length)
    write_overlay(tmp_path / "s.mp4", tmp_path / "o.mp4", one(predictions([0, 0.04])))
    timeline = timeline_with_sound(tmp_path / "o.mp4")
    assert timeline.end_s == pytest.approx(2, abs=1e-3)
    assert timeline.audio_end_s == pytest.approx(2, abs=0.05)


def test_odd_sides_become_even_and_ten_bits_eight(tmp_path: Path) -> None:
    frames = [np.full((361, 641, 3), (30, 160, 90), np.uint8)] * 3
    source = write_source(tmp_path / "s.mkv", frames, [0, 0.04, 0.08], codec="ffv1", pix_fmt="yuv444p10le")
    write_overlay(source, tmp_path / "o.mp4", one(predictions([0, 0.04, 0.08])))
    drawn = frames_of(tmp_path / "o.mp4")[0]
    assert drawn.shape == (360 + 160, 640, 3)
    assert drawn[180, 320] == pytest.approx((30, 160, 90), abs=6)


def test_another_video_than_the_predicted_one_is_refused(silent_video: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"silent\.mp4 has 65 frames, 3 were predicted: predict it again"):
        write_overlay(silent_video, tmp_path / "o.mp4", one(predictions([0, 1, 2])))
    assert list(tmp_path.iterdir()) == []


def test_where_the_video_cannot_be_read_an_older_overlay_stays(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(b"older")
    with pytest.raises(BadInputError, match=r"broken\.mp4 cannot be read"):
        write_overlay(broken, kept, one(predictions([0])))
    assert kept.read_bytes() == b"older"


@given(st.integers(2, 8192), st.integers(2, 8192))
def test_layouts_have_even_sides_and_the_panel_never_covers_the_picture(width: int, height: int) -> None:
    layout = plan_layout(width, height)
    px, py, pw, ph = layout.picture
    x, y, w, h = layout.panel
    sides = [*layout.size, *layout.picture, *layout.panel]
    assert all(side % 2 == 0 for side in sides)
    assert min(w, h, pw, ph) >= 2
    assert max(pw, ph) <= LONGEST
    assert (x, y) == ((px, py + ph) if layout.below else (px + pw, py))
    assert layout.size == ((pw, ph + h) if layout.below else (pw + w, ph))
    if min(width, height) * 20 > max(width, height):
        assert pw / ph == pytest.approx(width / height, rel=0.05)


@pytest.fixture(params=[(640, 360), (360, 640), (1280, 720)], ids=str)
def drawn(request: pytest.FixtureRequest) -> Callable[..., np.ndarray]:
    """Draws the panel for curves, at their last frame."""
    layout = plan_layout(*request.param)

    def draw(**curves: object) -> np.ndarray:
        times = np.arange(300) / 25
        image = np.zeros((layout.panel[3], layout.panel[2], 3), np.uint8)
        Panel(layout, predictions(times, **curves)).draw(image, 299)
        return image

    return draw


def point(image: np.ndarray) -> np.ndarray:
    """Middle (x, y) of the largest white disc."""
    _, _, stats, centres = cv2.connectedComponentsWithStats(near(image, BRIGHT, 12).astype(np.uint8))
    return centres[1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])]


def test_the_point_is_where_the_values_are_in_the_plane(drawn: Callable[..., np.ndarray]) -> None:
    origin, right, above = (point(drawn(valence=v, arousal=a)) for v, a in ((0, 0), (1, 0), (0, 1)))
    radius = right[0] - origin[0]
    assert radius > 50
    assert above == pytest.approx((origin[0], origin[1] - radius), abs=1)  # excited is up
    assert right[1] == pytest.approx(origin[1], abs=0.5)
    low = point(drawn(valence=-0.4, arousal=-0.6))
    assert low == pytest.approx((origin[0] - 0.4 * radius, origin[1] + 0.6 * radius), abs=1)


def test_the_traces_show_the_last_ten_seconds(drawn: Callable[..., np.ndarray]) -> None:
    times = np.arange(300) / 25  # the last frame is at 11.96 s: a step at 6.96 s is in the middle
    image = drawn(valence=np.where(times < 6.96, -0.8, 0.8), arousal=0.0)
    curve = near(image, TARGETS["valence"], 40)
    flat = near(drawn(valence=0.8, arousal=0.0), TARGETS["valence"], 40)
    row = int(np.argmax(flat.sum(axis=1)))  # the height of +0.8
    x = np.flatnonzero(curve[row])
    whole = np.flatnonzero(flat[row])
    assert len(whole) > 150
    assert x[0] == pytest.approx((whole[0] + whole[-1]) / 2, abs=0.04 * len(whole))
    assert x[-1] == whole[-1]


def test_lamps_say_which_stream_is_there(drawn: Callable[..., np.ndarray]) -> None:
    both, deaf = drawn(), drawn(audio_present=False)
    changed = np.flatnonzero((both != deaf).any(axis=2).any(axis=0))
    assert 0 < np.ptp(changed) < 20


def test_numbers_and_times_as_they_are_written() -> None:
    assert [signed(value) for value in (0.316, -0.5, -0.001)] == ["+0.32", "–0.50", "+0.00"]
    assert [clock(s) for s in (0, 9.96, 59.99, 61.25, 3725.3)] == ["0:00.0", "0:09.9", "0:59.9", "1:01.2", "1:02:05.3"]


def test_nothing_is_drawn_where_nothing_is_known(drawn: Callable[..., np.ndarray]) -> None:
    known = np.where(np.arange(300) < 200, 0.8, np.nan)
    image = drawn(valence=known, arousal=np.where(np.isnan(known), np.nan, 0.0))
    whole = drawn(valence=0.8, arousal=0.0)
    curve, full = (near(one, TARGETS["valence"], 40) for one in (image, whole))
    row = int(np.argmax(full.sum(axis=1)))
    x = np.flatnonzero(full[row])
    last = np.flatnonzero(curve[row])[-1]  # the last four of ten seconds are unknown
    assert (last - x[0]) / np.ptp(x) == pytest.approx(0.6, abs=0.04)
    assert near(whole, BRIGHT, 12).sum() - near(image, BRIGHT, 12).sum() > 50, "no point in the plane"


def test_several_people_have_boxes_numbers_and_curves_in_their_colours(tmp_path: Path) -> None:
    times = [index / 25 for index in range(30)]
    source = write_source(tmp_path / "s.mp4", [np.full((360, 640, 3), 90, np.uint8)] * 30, times)
    seen = np.arange(30) < 15
    jpeg = cv2.imencode(".jpg", np.full((112, 112, 3), (40, 200, 90), np.uint8))[1].tobytes()
    persons = []
    for number, flags in ((1, seen), (2, ~seen)):
        table = predictions(times, valence=np.where(flags, 0.5, np.nan), arousal=np.where(flags, 0.3, np.nan))
        table["face_confidence"] = np.where(flags, 0.9, 0).astype(np.float32)
        boxes = np.where(flags[:, None], [100.0 + 250 * (number - 1), 120, 100, 120], np.nan)
        persons.append(Person("" if number == 1 else "person-2", table, boxes, jpeg))
    write_overlay(source, tmp_path / "o.mp4", persons)
    drawn = frames_of(tmp_path / "o.mp4")
    above = drawn[0].shape[0] - 520
    assert above > 40
    for index, who in ((5, 0), (25, 1)):
        picture, panel = drawn[index][above : above + 360], drawn[index][above + 360 :]
        for number, colour in enumerate(COLOURS[:2]):
            box = near(picture[118:242, 98 + 250 * number : 203 + 250 * number], colour, 60).sum()
            assert (box > 500) == (number == who)
            assert (near(picture[98:120, 98 + 250 * number : 130 + 250 * number], colour, 60).sum() > 100) == (
                number == who
            )
            assert near(panel, colour, 60).sum() > 20 or number > who, "curves stay for ten seconds"
        legend = drawn[index][:above]
        lit = [near(legend[8:36, 320 * number + 10 : 320 * number + 38], (90, 200, 40), 30).sum() for number in (0, 1)]
        assert lit[who] > 300
        assert lit[1 - who] == 0, "dark where nothing is known"
