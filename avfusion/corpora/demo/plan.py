"""The videos of the demo corpus: splits, lengths, identities, and the awkward cases that fill real corpora.

The plan and all signals are drawn before anything is rendered, each video from its own generators, so videos can be
rendered in any order and by any number of processes.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from itertools import pairwise

import numpy as np

from avfusion.corpora.demo import interaction, latents
from avfusion.corpora.demo.latents import Signals, Span, Spans
from avfusion.corpora.settings import RenderSettings

SPLITS = ("train", "val", "test")
DEFAULT_FPS = Fraction(25)
FILM_FPS, NTSC_FPS = Fraction(24), Fraction(30000, 1001)
UNLABELLED_EVERY = 5
"""Every n-th labelled track has a span without annotations."""


class Purpose(IntEnum):
    """The purpose of a random generator; keeps the draws of a video apart."""

    SIGNALS = 0
    DURATION = 1
    LOOKS = 2
    SPEAKER = 3
    MOVEMENT = 4
    SPEECH = 5
    RECORDING = 6
    ROOM = 7
    OCCLUSION = 8
    LABELS = 9
    CLOCK = 10
    OUTSIDER = 11


@dataclass(frozen=True)
class AudioPlan:
    """The audio stream of a video: its format, its start in seconds after the video's, whether it is silent."""

    rate: int = 44100
    channels: int = 1
    start_s: float = 0.0
    silent: bool = False


@dataclass(frozen=True)
class VideoPlan:
    """One video file and its annotated tracks."""

    video: str
    split: str
    number: int
    duration_s: float
    tracks: tuple[str, ...]
    fps: Fraction = DEFAULT_FPS
    variable_rate: bool = False
    audio: AudioPlan | None = AudioPlan()
    extra_label_line: bool = False
    unlabelled_span: bool = False

    def rng(self, seed: int, purpose: Purpose, person: int = 0) -> np.random.Generator:
        """Return the generator of this video for `purpose`, of corpus `seed`."""
        return np.random.default_rng([seed, SPLITS.index(self.split), self.number, person, int(purpose)])


AWKWARD: dict[str, tuple[dict[str, object], ...]] = {
    "train": (
        {"two_people": True},
        {"fps": FILM_FPS},
        {"variable_rate": True},
        {"audio": AudioPlan(rate=48000, channels=2)},
        {"audio": None},
        {"audio": AudioPlan(rate=22050)},
        {"audio": AudioPlan(start_s=0.8)},
        {"audio": AudioPlan(silent=True)},
        {"fps": NTSC_FPS},
        {"extra_label_line": True},
    ),
    "val": ({"extra_label_line": True, "fps": NTSC_FPS}, {"audio": AudioPlan(rate=48000, channels=2)}),
    "test": (
        {},
        {"fps": FILM_FPS},
        {"fps": NTSC_FPS, "audio": AudioPlan(rate=48000, channels=2)},
        {"audio": AudioPlan(start_s=0.5)},
    ),
}
"""The awkward cases, given to the first videos of each split in this order."""


def plan_videos(params: RenderSettings) -> list[VideoPlan]:
    """Return every video of the corpus, training split first."""
    videos: list[VideoPlan] = []
    for split in SPLITS:
        tracks_left = int(getattr(params, split))
        number = 0
        while tracks_left > 0:
            case = dict(AWKWARD[split][number]) if number < len(AWKWARD[split]) else {}
            pair = bool(case.pop("two_people", False)) and tracks_left >= 2
            name = f"demo-{len(videos) + 1:03d}"
            tracks = (f"{name}_left", f"{name}_right") if pair else (name,)
            video = VideoPlan(name, split, number, 0.0, tracks)
            length = video.rng(params.seed, Purpose.DURATION).uniform(params.min_seconds, params.max_seconds)
            unlabelled = split != "test" and number % UNLABELLED_EVERY == 1
            video = replace(video, duration_s=round(float(length), 2), unlabelled_span=unlabelled)
            videos.append(replace(video, **case))  # type: ignore[arg-type]
            tracks_left -= len(tracks)
            number += 1
    return videos


def draw_corpus(params: RenderSettings, videos: list[VideoPlan]) -> dict[str, tuple[Signals, ...]]:
    """Draw the signals of every track; return, per video, one `Signals` per track."""
    draw_split = interaction.draw_interacting_split if params.emotions == "interaction" else latents.draw_split
    drawn: dict[str, tuple[Signals, ...]] = {}
    for split in SPLITS:
        chosen = [video for video in videos if video.split == split]
        people = [(video, person) for video in chosen for person in range(len(video.tracks))]
        generators = [video.rng(params.seed, Purpose.SIGNALS, person) for video, person in people]
        signals = iter(draw_split(generators, [video.duration_s for video, _ in people]))
        for video in chosen:
            own = [next(signals) for _ in video.tracks]
            drawn[video.video] = tuple(_audible(video, person, own) for person in range(len(own)))
    return drawn


def _audible(video: VideoPlan, person: int, people: list[Signals]) -> Signals:
    """Adapt a person's voice to the video: turn-taking, a late start, or no sound."""
    signals = people[person]
    spans = signals.spans
    if len(people) > 1:
        turns = _turns(video.duration_s)
        others = tuple(span for index, span in enumerate(turns) if index % len(people) != person)
        spans = Spans(spans.occlusions, people[0].spans.bursts, others)
    if video.audio is None or video.audio.silent:
        spans = Spans(spans.occlusions, (), ((0.0, video.duration_s + 1.0),))
    elif video.audio.start_s > 0.0:
        spans = Spans(spans.occlusions, spans.bursts, ((0.0, video.audio.start_s), *spans.pauses))
    return replace(signals, spans=spans)


def _turns(duration_s: float) -> list[Span]:
    """Return the turns of a conversation, about five seconds each."""
    count = max(2, round(duration_s / 5.0))
    edges = np.linspace(0.0, duration_s, count + 1)
    return [(float(start), float(end)) for start, end in pairwise(edges)]


def planned_times(video: VideoPlan, seed: int) -> np.ndarray:
    """Return the presentation times (N,) in seconds from the first frame, multiples of 1/90000 s."""
    ticks = frame_ticks(video, seed)
    return ticks / TICKS_PER_SECOND


TICKS_PER_SECOND = 90000
"""Video time base: frame times of 24, 25, 29.97 and 30 fps are whole ticks."""


def frame_ticks(video: VideoPlan, seed: int) -> np.ndarray:
    """Return the presentation times (N,) in ticks; a variable rate steps by 1/30, 1/25 or 1/20 s at random."""
    step = int(TICKS_PER_SECOND / video.fps)
    count = round(video.duration_s * float(video.fps))
    if not video.variable_rate:
        return np.arange(count, dtype=np.int64) * step
    steps = video.rng(seed, Purpose.CLOCK).choice([3000, 3600, 4500], size=count, p=[0.4, 0.3, 0.3])
    ticks = np.concatenate([[0], np.cumsum(steps)])
    return ticks[ticks < video.duration_s * TICKS_PER_SECOND].astype(np.int64)
