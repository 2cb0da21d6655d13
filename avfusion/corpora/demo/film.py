"""Render one video: its people act out their signals before the camera, and speak."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avfusion.corpora.demo import voice
from avfusion.corpora.demo.crops import crop_jpeg
from avfusion.corpora.demo.encode import mp4
from avfusion.corpora.demo.features import Expression
from avfusion.corpora.demo.identity import Identity, draw_identity
from avfusion.corpora.demo.latents import Signals, Spans, draw_split
from avfusion.corpora.demo.occluder import COVERED, Occluder
from avfusion.corpora.demo.plan import TICKS_PER_SECOND, Purpose, VideoPlan, frame_ticks
from avfusion.corpora.demo.scene import HeadPath, Sensor, Sitter, draw_head_path, paint_room, paint_shoulders

CROP_KEPT_SHARE = 0.25
"""Share of occlusions with a crop all the same, which shows the occluder: face detectors can be fooled."""
PAIR_WIDTH = 1.75
"""Width of a two-person picture, relative to its height."""


@dataclass(frozen=True)
class Speech:
    """How and when a person speaks."""

    cues: dict[str, np.ndarray]
    speaker: voice.Speaker
    syllables: voice.Syllables


class Actor:
    """One person of a video: looks, movement, expression cues (N,) per frame, and occluders."""

    def __init__(
        self, video: VideoPlan, person: int, signals: Signals, seed: int, size: int, times: np.ndarray
    ) -> None:
        self.looks: Identity = draw_identity(video.rng(seed, Purpose.LOOKS, person))
        movement = video.rng(seed, Purpose.MOVEMENT, person)
        centre = picture_width(video, size) * (person + 0.5 + 0.06 * (1 - 2 * person)) / len(video.tracks)
        if len(video.tracks) == 1:
            centre = 0.5 * size
        self.head: HeadPath = draw_head_path(movement, times, size, centre)
        self.cues = signals.cues_at("visual", times)
        self._painter = Sitter(self.looks, (float(movement.uniform(-1, 1)), float(movement.uniform(-1, 0))))
        hiding = video.rng(seed, Purpose.OCCLUSION, person)
        scale = float(self.head.scale.mean())
        self._occluders = [Occluder(hiding, span, self.looks.skin, scale) for span in signals.spans.occlusions]
        self._fooled = [bool(hiding.random() < CROP_KEPT_SHARE) for _ in self._occluders]
        self.speech = self._speech(video, person, signals, seed)
        opening = np.interp(times, self.speech.syllables.times, self.speech.syllables.envelope)
        self._opening = np.clip(0.62 * opening * (1.0 + 0.6 * self.cues["mouth_gain"]), 0.0, 1.0)

    @staticmethod
    def _speech(video: VideoPlan, person: int, signals: Signals, seed: int) -> Speech:
        times = np.arange(int(video.duration_s * voice.CONTROL_HZ) + 1) / voice.CONTROL_HZ
        cues = signals.cues_at("audio", times)
        speaker = voice.draw_speaker(video.rng(seed, Purpose.SPEAKER, person))
        generator = video.rng(seed, Purpose.SPEECH, person)
        return Speech(cues, speaker, voice.draw_syllables(generator, cues["rate"], speaker, signals.spans.pauses))

    def expression(self, frame: int) -> Expression:
        """Return the face's expression in `frame` (0-based)."""
        cues, head = self.cues, self.head
        return Expression(
            smile=float(cues["smile"][frame]),
            brow_tilt=float(cues["brow_tilt"][frame]),
            brow_height=float(cues["brow_height"][frame]),
            eye_opening=float(cues["eye_opening"][frame]),
            mouth_opening=float(self._opening[frame]),
            eyelids=float(head.eyelids[frame]),
            gaze=(float(head.gaze[frame, 0]), float(head.gaze[frame, 1])),
            yaw=float(head.yaw[frame]),
            pitch=float(head.pitch[frame]),
        )

    def paint(self, picture: np.ndarray, frame: int, time: float) -> tuple[np.ndarray, bool]:
        """Paint this person, and an occluder, into `picture`; return landmarks (5, 2) and whether a crop exists."""
        landmarks = self._painter.paint(picture, self.expression(frame), self.head.matrix(frame))
        has_crop = True
        for occluder, fooled in zip(self._occluders, self._fooled, strict=True):
            progress = occluder.progress(time)
            if progress > 0.0:
                occluder.paint(picture, (float(self.head.x[frame]), float(self.head.y[frame])), progress)
            if progress >= COVERED and not fooled:
                has_crop = False
        return landmarks, has_crop


def picture_width(video: VideoPlan, size: int) -> int:
    """Return the picture's width in pixels, a multiple of 16 for two people; `size` is its height."""
    return size if len(video.tracks) == 1 else round(size * PAIR_WIDTH / 16.0) * 16


def film(
    video: VideoPlan, signals: tuple[Signals, ...], seed: int, size: int, video_path: Path, crops: list[Path]
) -> None:
    """Render `video` into `video_path` and each track's crops into its folder of `crops`."""
    ticks = frame_ticks(video, seed)
    times = ticks / TICKS_PER_SECOND
    width = picture_width(video, size)
    actors = [Actor(video, person, own, seed, size, times) for person, own in enumerate(signals)]
    generator = video.rng(seed, Purpose.ROOM)
    room = paint_room(generator, width, size)
    for actor in actors:
        paint_shoulders(room, actor.looks, actor.head)
    sensor = Sensor(generator, width, size, times)
    durations = np.diff(ticks, append=ticks[-1] + int(TICKS_PER_SECOND / video.fps))
    for folder in crops:
        folder.mkdir(parents=True)
    with mp4(video_path, width, size, video.fps) as muxer:
        if video.audio is not None:
            muxer.add_audio(sound(video, actors, signals, seed), video.audio.rate, video.audio.start_s)
        for frame, time in enumerate(times):
            picture = room.copy()
            shown = [actor.paint(picture, frame, float(time)) for actor in actors]
            picture = sensor.expose(picture, frame)
            muxer.picture(picture, int(ticks[frame]), int(durations[frame]))
            for folder, (landmarks, has_crop) in zip(crops, shown, strict=True):
                if has_crop:
                    (folder / f"{frame + 1:05d}.jpg").write_bytes(crop_jpeg(picture, landmarks))


def sound(video: VideoPlan, actors: list[Actor], signals: tuple[Signals, ...], seed: int) -> np.ndarray:
    """Return the samples (channels, N) of a video with an audio stream, from the stream's start on."""
    assert video.audio is not None
    rate = video.audio.rate
    if video.audio.silent:
        return np.zeros((video.audio.channels, int(video.duration_s * rate)), np.float32)
    parts = []
    for person, actor in enumerate(actors):
        generator = video.rng(seed, Purpose.RECORDING, person)
        speech = actor.speech
        parts.append(voice.synthesise(generator, speech.cues, speech.syllables, speech.speaker, rate))
    parts.append(_outsider(video, signals, seed, len(parts[0])))
    bursts, speaker = signals[0].spans.bursts, actors[0].speech.speaker
    room = video.rng(seed, Purpose.RECORDING, len(actors))
    heard = voice.record(room, np.sum(parts, axis=0), speaker, bursts, rate)
    heard = heard[round(video.audio.start_s * rate) :]
    if video.audio.channels == 1:
        return heard[None]
    return np.stack([heard, 0.9 * np.roll(heard, 9)])


def _outsider(video: VideoPlan, signals: tuple[Signals, ...], seed: int, samples: int) -> np.ndarray:
    """Return the samples (N,) of a person off camera, who talks in pauses (unless a partner does) and in bursts."""
    assert video.audio is not None
    generator = video.rng(seed, Purpose.OUTSIDER)
    spans = signals[0].spans
    spans = Spans((), spans.bursts, spans.pauses if len(signals) == 1 else ())
    times = np.arange(int(video.duration_s * voice.CONTROL_HZ) + 1) / voice.CONTROL_HZ
    cues = draw_split([generator], [video.duration_s])[0].cues_at("audio", times)
    speaker = voice.draw_speaker(generator)
    syllables = voice.draw_syllables(generator, cues["rate"], speaker, ())
    spoken = voice.synthesise(generator, cues, syllables, speaker, video.audio.rate)[:samples]
    return spoken * voice.outsider_level(spans, np.arange(len(spoken)) / video.audio.rate)
