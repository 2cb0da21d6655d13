"""Rendered videos of people whose ways cross, with the truth about who is where in every frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from avfusion.corpora.demo.encode import mp4
from avfusion.corpora.demo.identity import Identity, draw_identity
from avfusion.corpora.demo.plan import TICKS_PER_SECOND
from avfusion.corpora.demo.scene import HeadPath, Sensor, Sitter, draw_head_path, paint_room
from avfusion.media.association import FaceTrack
from tests.media.sitters import expression, paint_sitter

WIDTH, HEIGHT = 480, 256
ALIKE = ("skin", "hair", "hairstyle", "beard", "glasses")
FITS, UNEQUAL = 0.4, 0.3  # mean error of landmarks, in eye distances: of the right person, and more of the others

Way = tuple[tuple[float, float], ...]
"""Points (share of the video's length, share of the picture's width) that a person passes."""


@dataclass(frozen=True)
class Crossing:
    """A video to render: people with their ways, painted from the farthest to the nearest."""

    name: str
    seed: int
    ways: tuple[Way, ...]
    seconds: float = 4.0
    fps: Fraction = Fraction(25)
    scales: tuple[float, ...] = (0.62, 0.66)
    alike: bool = False  # skin, hair and beard of the first


LEFT, RIGHT = 0.18, 0.82
OUTSIDE = -0.3
ACROSS = ((0, LEFT), (0.2, LEFT), (0.8, RIGHT), (1, RIGHT))
FAST = ((0, LEFT), (0.4, LEFT), (0.6, RIGHT), (1, RIGHT))
LATE = ((0, LEFT), (0.4, LEFT), (0.95, RIGHT), (1, RIGHT))
STAYS = ((0, 0.5), (1, 0.53))
TOUCHES = ((0, LEFT), (0.5, 0.43), (1, LEFT))
HALF_BEHIND = ((0, LEFT), (0.5, 0.5), (1, LEFT))
STOPS = ((0, LEFT), (0.35, 0.46), (0.6, 0.47), (1, RIGHT))
ENTERS = ((0, OUTSIDE), (0.15, OUTSIDE), (0.85, RIGHT), (1, RIGHT))
LEAVES = ((0, RIGHT), (0.15, RIGHT), (0.85, OUTSIDE), (1, OUTSIDE))
OVERTAKES = ((0, 0.13), (0.8, 0.86), (1, 0.86))
AHEAD = ((0, 0.32), (1, 0.62))
SITS = ((0, 0.25), (1, 0.28))


def mirrored(way: Way) -> Way:
    """The same way from the other side."""
    return tuple((time, 1 - x) for time, x in way)


CINEMA, NTSC = Fraction(24), Fraction(30)
NEAR_FAR = (0.52, 0.74)
EQUAL = (0.62, 0.62)
CROSSINGS = (
    Crossing("meet", 1, (ACROSS, mirrored(ACROSS))),
    Crossing("meet, other depth", 2, (mirrored(ACROSS), ACROSS), fps=CINEMA),
    Crossing("meet, alike", 3, (ACROSS, mirrored(ACROSS)), scales=EQUAL, alike=True),
    Crossing("meet fast", 4, (FAST, mirrored(FAST)), fps=NTSC, scales=EQUAL),
    Crossing("meet fast, alike", 5, (FAST, mirrored(FAST)), scales=EQUAL, alike=True),
    Crossing("meet slowly, near and far", 6, (ACROSS, mirrored(LATE)), seconds=6, scales=NEAR_FAR),
    Crossing("meet slowly, alike", 7, (LATE, mirrored(ACROSS)), seconds=6, fps=CINEMA, alike=True),
    Crossing("pass before who stays", 8, (STAYS, ACROSS), fps=NTSC),
    Crossing("pass behind who stays", 9, (mirrored(ACROSS), STAYS), seconds=5),
    Crossing("pass behind who stays, alike", 10, (ACROSS, STAYS), scales=EQUAL, alike=True),
    Crossing("touch and turn back", 11, (TOUCHES, mirrored(TOUCHES)), scales=EQUAL),
    Crossing("touch and turn back, alike", 12, (TOUCHES, mirrored(TOUCHES)), fps=CINEMA, scales=EQUAL, alike=True),
    Crossing("go half behind and turn back", 13, (HALF_BEHIND, mirrored(HALF_BEHIND)), seconds=5, fps=NTSC),
    Crossing("stop in the middle", 14, (STOPS, mirrored(STOPS)), seconds=5),
    Crossing("stop in the middle, alike", 15, (STOPS, mirrored(STOPS)), seconds=6, scales=EQUAL, alike=True),
    Crossing("enter while the other leaves", 16, (ENTERS, LEAVES)),
    Crossing("enter behind while the other leaves", 17, (LEAVES, ENTERS), seconds=5, fps=NTSC),
    Crossing("enter while the other leaves, alike", 18, (ENTERS, LEAVES), fps=CINEMA, scales=EQUAL, alike=True),
    Crossing("overtake", 19, (AHEAD, OVERTAKES), scales=NEAR_FAR),
    Crossing("overtake behind, alike", 20, (OVERTAKES, AHEAD), seconds=3, alike=True),
)
APART = Crossing("apart", 21, (SITS, mirrored(SITS)), scales=EQUAL, alike=True)
THREE = Crossing("three", 22, (STAYS, ACROSS, mirrored(LATE)), seconds=5, scales=(0.5, 0.58, 0.6))


@dataclass(frozen=True)
class Truth:
    """Where people are: landmarks (people, N, 5, 2) in pixels."""

    landmarks: np.ndarray

    def person(self, index: int, landmarks: np.ndarray) -> int | None:
        """Whose face a detection is; None where it fits nobody, or two people behind one another about equally."""
        true = self.landmarks[:, index]
        eyes = np.linalg.norm(true[:, 1] - true[:, 0], axis=1)
        off = np.linalg.norm(true - landmarks, axis=2).mean(axis=1) / eyes
        nearest, *others = np.argsort(off)
        fits = off[nearest] <= FITS and all(off[other] - off[nearest] >= UNEQUAL for other in others)
        return int(nearest) if fits else None

    def persons(self, track: FaceTrack) -> set[int]:
        """Everybody whose face is in a track."""
        seen = {self.person(i, face.landmarks) for i, face in zip(track.indices, track.faces, strict=True)}
        return {person for person in seen if person is not None}


def render(crossing: Crossing, path: Path) -> Truth:
    """Write the video as H.264."""
    rng = np.random.default_rng([crossing.seed, 77])
    times = np.arange(round(crossing.seconds * crossing.fps)) / float(crossing.fps)
    looks = _looks(rng, crossing)
    people = [Sitter(person, (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 0)))) for person in looks]
    heads = [_head(rng, times, way, scale) for way, scale in zip(crossing.ways, crossing.scales, strict=True)]
    acting = [rng.uniform(0, 2 * np.pi, 6) for _ in people]
    room = paint_room(rng, WIDTH, HEIGHT)
    sensor = Sensor(rng, WIDTH, HEIGHT, times)
    landmarks = np.zeros((len(people), len(times), 5, 2))
    with mp4(path, WIDTH, HEIGHT, crossing.fps) as muxer:
        ticks = np.round(times * TICKS_PER_SECOND).astype(int)
        for frame, time in enumerate(times):
            picture = room.copy()
            for number, (person, head) in enumerate(zip(people, heads, strict=True)):
                face = expression(head, frame, acting[number][:4], time)
                landmarks[number, frame] = paint_sitter(picture, person, head, frame, face)
            muxer.picture(sensor.expose(picture, frame), int(ticks[frame]), int(TICKS_PER_SECOND / crossing.fps))
    return Truth(landmarks)


def _looks(rng: np.random.Generator, crossing: Crossing) -> list[Identity]:
    looks = [draw_identity(rng) for _ in crossing.ways]
    if crossing.alike:
        shared = {name: getattr(looks[0], name) for name in ALIKE}
        looks = [looks[0], *(replace(other, **shared) for other in looks[1:])]
    return looks


def _head(rng: np.random.Generator, times: np.ndarray, way: Sequence[tuple[float, float]], scale: float) -> HeadPath:
    """A head that wavers about its way."""
    head = draw_head_path(rng, times, HEIGHT, 0.0)
    share, x = np.array(way).T
    centre = PchipInterpolator(share * times[-1], x * WIDTH)(times)
    return replace(head, x=centre + head.x - head.x.mean(), scale=head.scale / head.scale.mean() * scale)
