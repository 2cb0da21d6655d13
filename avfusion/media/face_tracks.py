"""The main person's face through a video: detection, association without swaps, aligned crops.

The video is decoded twice, so that memory stays flat: once to detect on every n-th frame (only boxes and landmarks
are kept), once to cut the crops of the person chosen after all of it has been seen.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from avfusion.media.alignment import TEMPLATE_SIZE, align_face
from avfusion.media.boxes import areas, doubled, overlaps
from avfusion.media.faces import Face, FaceDetector
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.media.video import read_video

SAME_PERSON_OVERLAP = 0.3  # intersection over union of a face's box with where the person was last seen
LOST_AFTER_S = 10.0  # whoever appears there later may be someone else
NOTABLE_SHARE = 0.01  # of the detections; a stray one among hundreds is not worth a warning

Side = Literal["left", "right"]


@dataclass(frozen=True)
class FaceCrop:
    """One video frame: number from 1, seconds from frame 1, (size, size, 3) uint8 RGB or None, confidence (0: none)."""

    frame: int
    time_s: float
    rgb: np.ndarray | None
    confidence: float


@dataclass
class FaceTrack:
    """One person's detections without a long absence: 0-based frame indices, ascending, and the faces there."""

    indices: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    def add(self, index: int, face: Face) -> None:
        """Append a later detection."""
        self.indices.append(index)
        self.faces.append(face)

    @property
    def weight(self) -> float:
        """Mean area of the face times the number of detections: large and long seen."""
        return float(areas(np.stack([face.box for face in self.faces])).sum())

    def overlaps(self, other: "FaceTrack") -> bool:
        """Whether the two stretches, from first to last detection, have a moment in common."""
        return self.indices[0] <= other.indices[-1] and other.indices[0] <= self.indices[-1]

    @property
    def centre_x(self) -> float:
        """Mean horizontal position in pixels."""
        return float(np.mean([(face.box[0] + face.box[2]) / 2 for face in self.faces]))


def face_crops(
    path: str | os.PathLike[str],
    *,
    detect_every: int = 5,
    min_confidence: float = 0.9,
    size: int = TEMPLATE_SIZE,
    side: Side | None = None,
    timeline: Timeline | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_detection: Callable[[int], None] | None = None,
) -> Iterator[FaceCrop]:
    """Aligned crops of the main person, one item per video frame, also where there is no face.

    Which stretches of detections are the main person's is said at `main_person`. Within a stretch, between detections
    at most two detection steps apart, landmarks and confidence are interpolated linearly; elsewhere the frame has no
    face.

    Args:
        path: A local video.
        detect_every: Frames from one detection to the next.
        min_confidence: Of the detector, 0 to 1.
        size: Side of the crops.
        side: "left" or "right": of the two main persons, the one further there in the picture.
        timeline: Of the video, where it is known already.
        on_warning: Called with what could not be decoded, and with how many detections are of other persons.
        on_detection: Called in the first pass with the number of frames looked through so far.

    Raises:
        BadInputError: as `avfusion.media.video.read_video`.
    """
    timeline = timeline or read_timeline(path)
    tracks = find_tracks(
        path, detect_every=detect_every, min_confidence=min_confidence, timeline=timeline, on_detection=on_detection
    )
    person = main_person(tracks, side)
    if on_warning and side is None and (unused := _share_without(tracks, person)) >= NOTABLE_SHARE:
        on_warning(
            f"several faces at the same time: {100 * unused:.0f} % of the face detections are of others than the one "
            "followed, and not used"
        )
    landmarks, confidence = interpolate_faces(person, timeline.frames, longest_gap=2 * detect_every)
    following = 0
    frames = read_video(path, timeline=timeline, wanted=lambda i: bool(confidence[i] > 0), on_warning=on_warning)
    for frame in frames:
        yield from _without_face(timeline, following, frame.index0)
        crop = align_face(frame.rgb, landmarks[frame.index0], size)
        yield FaceCrop(frame.index0 + 1, frame.time_s, crop, float(confidence[frame.index0]))
        following = frame.index0 + 1
    yield from _without_face(timeline, following, timeline.frames)


def find_tracks(
    path: str | os.PathLike[str],
    *,
    detect_every: int,
    min_confidence: float,
    timeline: Timeline,
    on_detection: Callable[[int], None] | None = None,
) -> list[FaceTrack]:
    """Detect faces on every n-th frame and on the last, and join them to persons."""
    detector = FaceDetector(thresholds=(0.6, 0.7, min_confidence))
    last = timeline.frames - 1
    tracks: list[FaceTrack] = []
    for frame in read_video(path, timeline=timeline, wanted=lambda i: i % detect_every == 0 or i == last):
        reachable = [track for track in tracks if frame.time_s - timeline.times_s[track.indices[-1]] <= LOST_AFTER_S]
        tracks += associate(reachable, frame.index0, detector.detect(frame.rgb), step=detect_every)
        if on_detection:
            on_detection(frame.index0 + 1)
    return tracks


def associate(tracks: list[FaceTrack], index: int, faces: list[Face], *, step: int = 1) -> list[FaceTrack]:
    """Give each face to the track whose last box it overlaps most, one to one; return new tracks for the others.

    Whoever was out of sight, for more than `step` frames, may have moved on: then boxes of twice the size are compared.
    """
    if not tracks or not faces:
        return [FaceTrack([index], [face]) for face in faces]
    last = np.stack([track.faces[-1].box for track in tracks])
    lost = np.array([index - track.indices[-1] > step for track in tracks])
    share = np.stack(
        [np.where(lost, overlaps(doubled(f.box[None])[0], doubled(last)), overlaps(f.box, last)) for f in faces]
    )
    unclaimed = set(range(len(faces)))
    for position in np.argsort(-share, axis=None, kind="stable"):
        f, t = np.unravel_index(position, share.shape)
        if share[f, t] < SAME_PERSON_OVERLAP:
            break
        if f in unclaimed and tracks[t].indices[-1] != index:
            tracks[t].add(index, faces[f])
            unclaimed.remove(int(f))
    return [FaceTrack([index], [faces[f]]) for f in sorted(unclaimed)]


def main_person(tracks: list[FaceTrack], side: Side | None = None) -> list[FaceTrack]:
    """The stretches of detections that make up the main person, in order of time.

    A cut or a long absence breaks a person's detections into several stretches. Taken are the one of the greatest
    weight (area of the face summed over the detections) and then, by descending weight, every further one that
    overlaps none already taken in time. So whoever is seen while the person followed so far is not, is followed then.
    With `side`, it is one stretch alone: of the two of the greatest weight, the one further there in the picture.
    """
    ranked = sorted(tracks, key=lambda track: (-track.weight, track.indices[0]))
    if side is not None and ranked:
        return [(min if side == "left" else max)(ranked[:2], key=lambda track: track.centre_x)]
    taken: list[FaceTrack] = []
    for track in ranked:
        if not any(track.overlaps(other) for other in taken):
            taken.append(track)
    return sorted(taken, key=lambda track: track.indices[0])


def _share_without(tracks: Sequence[FaceTrack], used: Sequence[FaceTrack]) -> float:
    """Share of all detections that are in none of the used stretches."""
    every, kept = (sum(len(track.indices) for track in some) for some in (tracks, used))
    return 1 - kept / every if every else 0.0


def interpolate_faces(
    stretches: Sequence[FaceTrack], frames: int, *, longest_gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (N, 5, 2) and confidence (N,) float32 of every frame; confidence 0 where there is no face.

    From one stretch to the next nothing is interpolated: there may be a cut between them.
    """
    landmarks = np.zeros((frames, 5, 2), np.float32)
    confidence = np.zeros(frames, np.float32)
    for stretch in stretches:
        _interpolate(stretch, landmarks, confidence, longest_gap)
    return landmarks, confidence


def _interpolate(track: FaceTrack, landmarks: np.ndarray, confidence: np.ndarray, longest_gap: int) -> None:
    at = np.array(track.indices)
    points = np.stack([face.landmarks for face in track.faces]).reshape(len(at), 10)
    scores = np.array([face.confidence for face in track.faces])
    every = np.arange(at[0], at[-1] + 1)
    after = np.searchsorted(at, every)
    near = (at[after] == every) | (at[after] - at[np.maximum(after - 1, 0)] <= longest_gap)
    kept = every[near]
    landmarks[kept] = np.stack([np.interp(kept, at, points[:, k]) for k in range(10)], axis=1).reshape(-1, 5, 2)
    confidence[kept] = np.interp(kept, at, scores)


def _without_face(timeline: Timeline, start: int, stop: int) -> Iterator[FaceCrop]:
    for index in range(start, stop):
        yield FaceCrop(index + 1, float(timeline.times_s[index]), None, 0.0)
