"""The videos of a corpus of Aff-Wild2's shape: which there are, how they are filmed, and how the files are bent."""

import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avfusion.corpora.demo.film import film
from avfusion.corpora.demo.latents import Signals
from avfusion.corpora.demo.plan import AudioPlan, VideoPlan, draw_corpus
from avfusion.corpora.settings import RenderSettings

NTSC = Fraction(30000, 1001)
SOUND = AudioPlan()


@dataclass(frozen=True)
class Video:
    """One video file: the folder below videos/, its suffix, how it is filmed, and what is done to the file.

    `bend` is "" or one of: late_picture (0.4 s after the sound), turned (on its side, and the container
    says so), truncated (the last 40 % of its bytes are missing).
    """

    name: str
    split: str
    folder: str
    sides: tuple[str, ...] = ("",)
    fps: Fraction = Fraction(25)
    variable_rate: bool = False
    audio: AudioPlan | None = SOUND
    unlabelled_span: bool = False
    suffix: str = ".mp4"
    bend: str = ""

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of its tracks."""
        return tuple(f"{self.name}{side}" for side in self.sides)

    def path(self, root: Path) -> Path:
        """Where its file lies."""
        return root / "videos" / self.folder / f"{self.name}{self.suffix}"


VIDEOS = (
    Video("12-24-1920x1080", "train", "batch1", fps=Fraction(24)),
    Video("video55", "train", "batch1", suffix=".avi"),
    Video("5-60-1920x1080-1", "train", "batch2", fps=Fraction(60)),
    Video("15-15-640x480", "train", "batch2", fps=Fraction(15), audio=AudioPlan(rate=22050)),
    Video("video27", "train", "batch1", bend="turned"),
    Video("106-30-1280x720", "train", "batch1", sides=("_left", "_right"), fps=NTSC),
    Video("video92", "train", "new_vids", sides=("", "_right")),
    Video("clip 3 v2.1", "train", "new_vids", variable_rate=True, audio=AudioPlan(start_s=0.4)),
    Video("mute.take 2", "train", "batch2", audio=None),
    Video("30-30-1920x1080", "train", "batch2", fps=NTSC, bend="late_picture"),
    Video("video71", "train", "batch1", bend="truncated"),
    Video("video33", "train", "new_vids", audio=AudioPlan(rate=48000, channels=2)),
    Video("8-30-1280x720", "train", "batch1", unlabelled_span=True),
    Video("video10", "val", "batch1", unlabelled_span=True),
    Video("22-30-1920x1080", "val", "batch2", fps=NTSC),
    Video("46-30-484x360", "val", "batch2", audio=AudioPlan(rate=48000, channels=2)),
    Video("video83", "val", "new_vids", variable_rate=True),
    Video("video2", "test", "batch1"),
    Video("7-24-1920x1080", "test", "batch2", fps=Fraction(24), suffix=".avi"),
    Video("video49", "test", "new_vids", sides=("_left", "_right")),
    Video("100-29-1080x1920", "test", "batch1", fps=NTSC, audio=AudioPlan(silent=True)),
)


def planned(seconds: float) -> list[VideoPlan]:
    """The plan of every video, each up to a second longer than the one before it."""
    return [
        VideoPlan(
            video=one.name,
            split=one.split,
            number=number,
            duration_s=round(seconds * (1 + 0.01 * (number % 4)), 2),
            tracks=one.tracks,
            fps=one.fps,
            variable_rate=one.variable_rate,
            audio=one.audio,
            unlabelled_span=one.unlabelled_span,
        )
        for number, one in enumerate(VIDEOS)
    ]


def film_videos(root: Path, work: Path, seconds: float, size: int, seed: int) -> dict[str, tuple[VideoPlan, Signals]]:
    """Film all videos below `root`/videos, their crops into `work`/<track>; returns what each track shows."""
    plans = planned(seconds)
    signals = draw_corpus(RenderSettings(seed=seed), plans)
    shown = {}
    for one, plan in zip(VIDEOS, plans, strict=True):
        path = one.path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        straight = work / "straight.mp4"
        film(plan, signals[one.name], seed, size, straight, [work / track for track in plan.tracks])
        _bend(straight, path, one.bend)
        shown |= {track: (plan, own) for track, own in zip(plan.tracks, signals[one.name], strict=True)}
    straight.unlink()
    return shown


def _bend(straight: Path, path: Path, bend: str) -> None:
    if bend == "turned":
        _code_anew(straight, path, "libx264", "aac", turned=True)
    elif path.suffix == ".avi":
        _code_anew(straight, path, "mpeg4", "pcm_s16le")
    elif bend == "late_picture":
        _move_picture(straight, path, 0.4)
    else:
        shutil.copyfile(straight, path)
    if bend == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: 6 * len(content) // 10])


def _code_anew(source: Path, target: Path, codec: str, sound_codec: str, *, turned: bool = False) -> None:
    """The same pictures and sound by other codecs; `turned`: lying on their side, and the container says so."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        picture, sound = old.streams.video[0], old.streams.audio[0]
        pictures = new.add_stream(codec, rate=picture.average_rate, options={"qscale": "4"})
        pictures.width, pictures.height = (picture.width, picture.height)[:: -1 if turned else 1]
        pictures.pix_fmt = "yuv420p"
        if turned:
            pictures.set_display_rotation(90)
        sounds = new.add_stream(sound_codec, rate=sound.rate, layout=sound.layout.name)
        for frame in old.decode(picture, sound):
            if isinstance(frame, av.AudioFrame):
                new.mux(sounds.encode(frame))
                continue
            rgb = np.rot90(frame.to_ndarray(format="rgb24"), -1 if turned else 0)
            again = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
            again.pts, again.time_base = frame.pts, frame.time_base
            new.mux(pictures.encode(again))
        new.mux(pictures.encode(None))
        new.mux(sounds.encode(None))


def _move_picture(source: Path, target: Path, shift_s: float) -> None:
    """The same packets, those of the picture `shift_s` later."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        copies = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "video":
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = copies[packet.stream_index]
            new.mux(packet)
