"""How far apart looks are: squared distances of the mean looks of one person in two shots, and of two people.

Rendered people in shots of 1.4 s (7 frames of H.264), each with other movements and expressions, in several lights,
sizes and noises. Two conditions are beyond what looks stand: faces with burnt-out skin, and another white balance.

    python benchmarks/likeness.py --people 30
"""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np

from avfusion.corpora.demo.encode import mp4
from avfusion.corpora.demo.identity import Identity, draw_identity
from avfusion.corpora.demo.plan import TICKS_PER_SECOND
from avfusion.corpora.demo.scene import Sitter, draw_head_path, paint_room
from avfusion.media.face_descriptor import distance, steady_look
from avfusion.media.face_tracks import find_tracks
from avfusion.media.persons import DIFFERENT, LIKENESS
from avfusion.media.timeline import read_timeline
from tests.media.crossings import ALIKE
from tests.media.sitters import expression, paint_sitter

SIDE, FRAMES, FPS = 256, 7, 5


@dataclass(frozen=True)
class Condition:
    """How a shot is taken; `gains`: factors of blue, green and red, `light`: where from (None: the person's own)."""

    name: str
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: float = 1.6
    scale: float = 0.75
    light: tuple[float, float] | None = None


USUAL = 8  # conditions in which one person is to be known
CONDITIONS = (
    Condition("once"),
    Condition("again"),
    Condition("brightness x0.6", (0.6, 0.6, 0.6)),
    Condition("brightness x1.2", (1.2, 1.2, 1.2)),
    Condition("noise 10", noise=10.0),
    Condition("half as large", scale=0.38),
    Condition("light from the left", light=(-1.0, -0.5)),
    Condition("light from the right", light=(1.0, -0.5)),
    Condition("brightness x1.4", (1.4, 1.4, 1.4)),
    Condition("warm", (0.85, 1.0, 1.15)),
)


def film(path: Path, looks: Identity, condition: Condition, rng: np.random.Generator) -> Path:
    """Write a shot of somebody in the middle of a room, as H.264."""
    times = np.arange(FRAMES) / FPS
    drawn = draw_head_path(rng, times, SIDE, SIDE / 2)
    head = replace(drawn, scale=drawn.scale / drawn.scale.mean() * condition.scale)
    own_light = float(rng.uniform(-1, 1)), float(rng.uniform(-1, 0))
    person = Sitter(looks, condition.light or own_light)
    phases, room = rng.uniform(0, 2 * np.pi, 4), paint_room(rng, SIDE, SIDE)
    step = TICKS_PER_SECOND // FPS
    with mp4(path, SIDE, SIDE, Fraction(FPS)) as muxer:
        for frame, time in enumerate(times):
            picture = room.copy()
            paint_sitter(picture, person, head, frame, expression(head, frame, phases, time))
            taken = picture * np.array(condition.gains) + rng.normal(0, condition.noise, picture.shape)
            muxer.picture(np.clip(taken, 0, 255).astype(np.uint8), frame * step, step)
    return path


def measure(people: int, conditions: Sequence[Condition], alike: bool = False) -> np.ndarray:
    """Mean looks (people, conditions, 224), NaN where no face is found; `alike`: skin and hair of the first person."""
    rng = np.random.default_rng(1)
    everybody = [draw_identity(rng) for _ in range(people)]
    if alike:
        shared = {name: getattr(everybody[0], name) for name in ALIKE}
        everybody = [replace(person, **shared) for person in everybody]
    looks = np.full((people, len(conditions), 224), np.nan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shot.mp4"
        for number, person in enumerate(everybody):
            for place, condition in enumerate(conditions):
                film(path, person, condition, np.random.default_rng([number, place]))
                tracks = find_tracks(path, detect_every=1, min_confidence=0.9, timeline=read_timeline(path))
                if tracks:
                    looks[number, place] = max(tracks, key=lambda track: track.weight).look
    return looks


def apart(looks: np.ndarray, one: int, other: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances of looks in two conditions: of one person (people,), and of two (people * (people - 1),)."""
    far = distance(looks[:, None, one], looks[None, :, other])
    same = np.eye(len(looks), dtype=bool)
    return far[same], far[~same]


def line(name: str, looks: np.ndarray, pairs: Iterable[tuple[int, int]]) -> str:
    """Percentiles, and shares taken for one person without and with doubt, over pairs of conditions."""
    found = [apart(looks, one, other) for one, other in pairs]
    text = f"{name:<36}"
    for far, marks in zip(map(np.concatenate, zip(*found, strict=True)), ((50, 95, 99), (1, 5, 50)), strict=True):
        known = far[~np.isnan(far)]
        values = " ".join(
            f"p{mark} {value:.2f}" for mark, value in zip(marks, np.percentile(known, marks), strict=True)
        )
        sure, joined = (known <= DIFFERENT).mean(), (known <= LIKENESS).mean()
        text += f" | {values}, sure {sure:.1%}, doubt {joined - sure:.1%}"
    return text


def main() -> None:
    """Print a line per group of conditions, by looks and by steady looks, and one per pair of conditions."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--people", type=int, default=30)
    people = options.parse_args().people
    looks = measure(people, CONDITIONS)
    steady = steady_look(looks)
    usual = list(combinations(range(USUAL), 2))
    print(f"{'':<36} | one person | two people")
    print(line("looks", looks, usual))
    print(line("steady looks", steady, usual))
    for place in range(USUAL, len(CONDITIONS)):
        print(line(f"steady looks, {CONDITIONS[place].name}", steady, [(0, place), (1, place)]))
    print(
        line("steady looks, alike in skin and hair", steady_look(measure(people, CONDITIONS[:2], alike=True)), [(0, 1)])
    )
    for one, other in usual:
        print(line(f"  {CONDITIONS[one].name} - {CONDITIONS[other].name}", steady, [(one, other)]))


if __name__ == "__main__":
    main()
