"""Rendered videos of several shots, with cuts between them, and the truth about who is to be seen in every frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from avfusion.corpora.demo.encode import mp4
from avfusion.corpora.demo.identity import Identity, draw_identity
from avfusion.corpora.demo.plan import TICKS_PER_SECOND
from avfusion.corpora.demo.scene import Sensor, Sitter, draw_head_path, paint_room
from tests.media.sitters import expression, paint_sitter

FPS = 25
RATE = 16000


@dataclass(frozen=True)
class Shot:
    """A number of frames of one camera: who is where (share of width and height), how large, and how bright it is."""

    frames: int
    people: tuple[tuple[int, float, float], ...] = ()
    scale: float = 0.7
    room: int = 0
    brightness: float = 1.0


def alone(person: int, frames: int, *, room: int | None = None) -> Shot:
    """Somebody in the middle of the picture, in a room of their own."""
    return Shot(frames, ((person, 0.5, 0.44),), room=person + 1 if room is None else room)


def drawn(count: int) -> list[Identity]:
    """People as the demo has them, those whom `benchmarks/likeness.py` measures: 1 and 5, 2 and 13 look alike."""
    rng = np.random.default_rng(1)
    return [draw_identity(rng) for _ in range(count)]


def unlike(count: int) -> list[Identity]:
    """People whose skin, hair and beard differ as much as they do at all."""
    rng = np.random.default_rng(5)
    looks = [draw_identity(rng) for _ in range(count)]
    skins = [(200.0, 214.0, 238.0), (60.0, 86.0, 132.0), (110.0, 150.0, 215.0), (150.0, 150.0, 160.0)]
    hairs = [(34.0, 42.0, 58.0), (30.0, 32.0, 40.0), (122.0, 124.0, 128.0), (38.0, 54.0, 96.0)]
    beards = [0.0, 0.6, 0.0, 0.6]
    return [
        replace(look, skin=skins[i % 4], hair=hairs[i % 4], beard=beards[i % 4], glasses=i % 4 == 2)
        for i, look in enumerate(looks)
    ]


def render_shots(
    path: Path,
    shots: Sequence[Shot],
    looks: Sequence[Identity],
    *,
    size: tuple[int, int] = (320, 256),
    sound: bool = True,
) -> np.ndarray:
    """Write the video as H.264 and AAC, a tone that changes with the shot; returns who is seen, (people, N) bool."""
    rng = np.random.default_rng(7)
    width, height = size
    total = sum(shot.frames for shot in shots)
    times = np.arange(total) / FPS
    people = [Sitter(look, (0.4, -0.5)) for look in looks]
    rooms = {
        number: paint_room(np.random.default_rng([number, 3]), width, height) for number in {s.room for s in shots}
    }
    sensor = Sensor(rng, width, height, times)
    phases = rng.uniform(0, 2 * np.pi, (len(looks), 4))
    seen = np.zeros((len(looks), total), bool)
    step = TICKS_PER_SECOND // FPS
    with mp4(path, width, height, Fraction(FPS)) as muxer:
        if sound:
            muxer.add_audio(_sound(shots)[None], RATE, 0.0)
        first = 0
        for shot in shots:
            heads = [draw_head_path(rng, times, 256, 0.0) for _ in shot.people]
            for frame in range(first, first + shot.frames):
                picture = rooms[shot.room].copy()
                for (person, x, y), head in zip(shot.people, heads, strict=True):
                    at = replace(
                        head,
                        x=head.x - head.x.mean() + x * width,
                        y=head.y - head.y.mean() + y * height,
                        yaw=0.5 * head.yaw,
                        scale=head.scale / head.scale.mean() * shot.scale,
                    )
                    face = expression(at, frame, phases[person], frame / FPS)
                    paint_sitter(picture, people[person], at, frame, face)
                    seen[person, frame] = True
                lit = np.clip(picture * shot.brightness, 0, 255).astype(np.uint8)
                muxer.picture(sensor.expose(lit, frame), frame * step, step)
            first += shot.frames
    return seen


def _sound(shots: Sequence[Shot]) -> np.ndarray:
    pieces = []
    for number, shot in enumerate(shots):
        at = np.arange(shot.frames * RATE // FPS) / RATE
        pieces.append(0.3 * np.sin(2 * np.pi * (180 + 90 * number) * at) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)))
    return np.concatenate(pieces)
