"""A video with its predictions: the faces' boxes in the picture, and the changing values beside it."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from avfusion.inference.analysis import Person
from avfusion.media.audio import aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.mp4_writer import Mp4Writer, mp4_writer
from avfusion.media.opener import open_media
from avfusion.media.timeline import Timeline
from avfusion.media.video import VideoFrame, read_video
from avfusion.presentation.overlay_panel import WORDS, Panel, plan_layout
from avfusion.presentation.overlay_people import Legend, PeoplePanel, draw_tag, tag_height
from avfusion.presentation.person_marks import colour_of
from avfusion.runtime.errors import BadInputError

Progress = Callable[[str, int, int], None]
Corners = tuple[int, int, int, int]

BOX, EDGE = (255, 214, 64), (20, 23, 28)
NOTE, NOTE_WEIGHT = (255, 176, 120), 500
STEREO = 2
WITHOUT_PICTURE = 640, 360


def write_overlay(
    video: str | Path,
    path: str | Path,
    persons: Sequence[Person],
    *,
    provenance: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    audio_track: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a copy of a video with its predictions drawn: MP4 of H.264 and AAC.

    Not atomic: to the caller's temporary path, and with the system's own errors.

    Frames keep their times, also at a variable rate, and are upright. The sound is the source's from its first frame
    on, stereo if the source is, else mono. Pictures of more than 1280 pixels are scaled down, of less than 360 up.
    Sound alone gets an empty picture. Of several persons each has a colour, with a number at the box, and a legend
    above names them. Memory stays flat.

    Args:
        persons: At least one.
        provenance: Facts kept in the file, for `overlay_provenance`.
        notes: What readers must know about the model, written into the lower right corner of the picture.
        audio_track: Number of the audio track, from 1; default: the one that players take.
        progress: Called with the phase, frames done, and all frames.

    Raises:
        BadInputError: the video cannot be read, or is not the predicted one.
    """
    timeline = read_any_timeline(video, audio_track=audio_track)
    for person in persons:
        if not len(person.predictions) == len(person.boxes) == timeline.frames:
            raise BadInputError(
                f"{video} has {timeline.frames} frames, {len(person.predictions)} were predicted: predict it again"
            )
    metadata = {"comment": json.dumps(dict(provenance), sort_keys=True)} if provenance else {}
    ends = np.append(timeline.times_s[1:], timeline.end_s)
    confidence = [person.predictions["face_confidence"].to_numpy(float) for person in persons]
    frames = read_video(video, timeline=timeline) if timeline.has_pictures else _empty_pictures(timeline)
    first = next(frames, None)
    if first is None:
        raise BadInputError(f"{video} is damaged: none of its frames can be decoded, so nothing can be drawn on them")
    height, width = first.rgb.shape[:2]
    layout = plan_layout(width, height)
    several = len(persons) > 1
    panel = PeoplePanel(layout, persons) if several else Panel(layout, persons[0].predictions)
    legend = Legend(layout, persons) if several else None
    above = legend.size[1] if legend else 0
    canvas = np.zeros((above + layout.size[1], layout.size[0], 3), np.uint8)
    picture, beside = (canvas[above + y : above + y + h, x : x + w] for x, y, w, h in (layout.picture, layout.panel))
    corner = _corner_note(notes, picture.shape[1], layout.unit)
    sound = _Sound(video, timeline)
    with mp4_writer(path, canvas.shape[1::-1], fps=timeline.fps, channels=sound.channels, metadata=metadata) as writer:
        for frame in chain([first], frames):
            index = frame.index0
            sound.write(writer, frame.time_s)
            _draw_picture(picture, frame)
            for person, sure in zip(persons, confidence, strict=True):
                corners = _corners(person.boxes[index], frame, picture) if sure[index] > 0 else None
                if corners and several:
                    _mark(picture, corners, colour_of(person), layout.unit)
                    _number(picture, corners, person, layout.unit)
                elif corners:
                    _mark(picture, corners, BOX, layout.unit)
                    _label(picture, f"{sure[index]:.2f}", corners, max(10, round(12 * layout.unit)))
            if corner.size:
                picture[-corner.shape[0] :, -corner.shape[1] :] = corner
            if legend:
                legend.draw(canvas[:above], index)
            panel.draw(beside, index)
            writer.picture(canvas, frame.time_s, ends[index] - frame.time_s)
            if progress:
                progress("overlay", index + 1, timeline.frames)
        sound.write(writer, float("inf"))


def overlay_provenance(path: str | Path) -> dict[str, str]:
    """The provenance in an overlay; empty if there is none."""
    try:
        with open_media(path) as container:
            found = json.loads(container.metadata.get("comment", "{}"))
    except (BadInputError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _empty_pictures(timeline: Timeline) -> Iterator[VideoFrame]:
    width, height = WITHOUT_PICTURE
    rgb = np.full((height, width, 3), EDGE, np.uint8)
    cv2.putText(rgb, "sound without pictures", (20, 40), WORDS, cv2.FontFace("sans"), 16, 500)
    for index, time_s in enumerate(timeline.times_s.tolist()):
        yield VideoFrame(index, time_s, rgb)


def _corner_note(notes: Sequence[str], width: int, unit: float) -> np.ndarray:
    """Notes as a picture (h, w, 3) that fits into a corner of a picture `width` pixels wide; empty without notes."""
    if not notes:
        return np.zeros((0, 0, 3), np.uint8)
    size, font = max(9, round(11 * unit)), cv2.FontFace("sans")
    lines = [line for note in notes for line in textwrap.wrap(note, max(16, round(0.62 * width / (0.5 * size))))]
    widths = [cv2.getTextSize((width, size), line, (0, 0), font, size, NOTE_WEIGHT)[2] for line in lines]
    high, margin = round(1.35 * size), size // 2
    corner = np.full((high * len(lines) + margin, min(width, max(widths) + 2 * margin), 3), EDGE, np.uint8)
    for row, line in enumerate(lines):
        cv2.putText(corner, line, (margin, row * high + round(1.2 * size)), NOTE, font, size, NOTE_WEIGHT)
    return corner


class _Sound:
    """The source's sound, piece by piece, read in parallel to the pictures."""

    def __init__(self, video: str | Path, timeline: Timeline) -> None:
        stereo = timeline.audio_channels == STEREO
        heard = timeline.audio_start_s is not None
        self._blocks: Iterator[np.ndarray] = aligned_audio(video, timeline, stereo=stereo) if heard else iter(())
        self._next = next(self._blocks, None)
        self.channels = 0 if self._next is None else STEREO if stereo else 1

    def write(self, writer: Mp4Writer, until_s: float) -> None:
        """Write the sound up to this time."""
        while self._next is not None and writer.sound_s <= until_s:
            writer.sound(np.atleast_2d(self._next))
            self._next = next(self._blocks, None)


def _draw_picture(image: np.ndarray, frame: VideoFrame) -> None:
    """Fill `image` with the scaled frame."""
    height, width = frame.rgb.shape[:2]
    high, wide = image.shape[:2]
    if (height, width) == (high, wide):
        image[:] = frame.rgb
    else:
        how = cv2.INTER_AREA if wide < width else cv2.INTER_CUBIC
        cv2.resize(frame.rgb, (wide, high), dst=image, interpolation=how)


def _corners(box: np.ndarray, frame: VideoFrame, image: np.ndarray) -> Corners | None:
    """Left, top, right and bottom of a box of the frame in the scaled picture; None without a box."""
    if not np.isfinite(box).all():
        return None
    scale = np.array(image.shape[1::-1]) / frame.rgb.shape[1::-1]
    corners = (np.stack([box[:2], box[:2] + box[2:]]) + 0.5) * scale - 0.5  # (0, 0) is the first pixel's centre
    (left, top), (right, bottom) = np.rint(corners).astype(int).tolist()
    return left, top, right, bottom


def _mark(image: np.ndarray, corners: Corners, colour: tuple[int, int, int], unit: float) -> None:
    """Draw a box."""
    left, top, right, bottom = corners
    thick = max(2, round(2 * unit))
    for paint, line in ((EDGE, thick + 2), (colour, thick)):
        cv2.rectangle(image, (left, top), (right, bottom), paint, line)


def _number(image: np.ndarray, corners: Corners, person: Person, unit: float) -> None:
    """Write a person's number above the box, or where there is no room, inside it."""
    size = max(11, round(14 * unit))
    high = tag_height(size)
    left = min(max(0, corners[0]), image.shape[1] - 2 * size)
    top = corners[1] - high if corners[1] >= high else min(max(0, corners[1]), image.shape[0] - high)
    draw_tag(image, str(person.number), (left, top), colour_of(person), size)


def _label(image: np.ndarray, text: str, box: Corners, size: int) -> None:
    """Write text at a box: above it, else below, else inside at the top."""
    left, top, _, bottom = box
    high = round(1.4 * size)
    wide = round(0.62 * size * len(text)) + size // 2
    base = top - high if top >= high else bottom if bottom + high <= image.shape[0] else max(0, top)
    left = min(max(0, left), max(0, image.shape[1] - wide))
    cv2.rectangle(image, (left, base), (left + wide, base + high), EDGE, -1)
    cv2.putText(image, text, (left + size // 3, base + round(1.05 * size)), BOX, cv2.FontFace("sans"), size, 500)
