"""The main person's face through a video: detection, association, aligned crops.

The video is decoded twice, so that memory stays flat: once to detect on every n-th frame (only boxes, landmarks and
looks are kept), once to cut the crops of the person chosen after all of it has been seen.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avfusion.media.alignment import TEMPLATE_SIZE, align_face
from avfusion.media.association import FaceTrack, FaceTracker, SeenFace
from avfusion.media.cut_warnings import cut_warnings
from avfusion.media.face_descriptor import CROP_SIZE, describe_face
from avfusion.media.faces import FaceDetector
from avfusion.media.persons import Side, main_person
from avfusion.media.scenes import picture_layout, scene_changed
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.media.video import read_video

NOTABLE_SHARE = 0.01  # of the detections; a stray one among hundreds is not worth a warning


@dataclass(frozen=True)
class FaceCrop:
    """One video frame: number from 1, seconds from frame 1, (size, size, 3) uint8 RGB or None, confidence (0: none)."""

    frame: int
    time_s: float
    rgb: np.ndarray | None
    confidence: float


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

    Which stretches of detections are the main person's is said at `avfusion.media.persons.main_person`. Within a
    stretch, between detections at most two detection steps apart, landmarks and confidence are interpolated linearly;
    elsewhere the frame has no face.

    Args:
        path: A local video.
        detect_every: Frames from one detection to the next.
        min_confidence: Of the detector, 0 to 1.
        size: Side of the crops.
        side: "left" or "right": the one of the two main persons who is further there in the picture.
        timeline: Of the video, where it is known already.
        on_warning: Called with when the track was cut, where it is unclear who is followed, how many detections are of
            other persons, and what could not be decoded.
        on_detection: Called in the first pass with the number of frames looked through so far.

    Raises:
        BadInputError: as `avfusion.media.video.read_video`.
    """
    timeline = timeline or read_timeline(path)
    tracks = find_tracks(
        path, detect_every=detect_every, min_confidence=min_confidence, timeline=timeline, on_detection=on_detection
    )
    person = main_person(tracks, side)
    if on_warning:
        for text in cut_warnings(person.stretches):
            on_warning(text)
        if _share(person.doubtful, person.stretches) >= NOTABLE_SHARE:
            times = ", ".join(f"{track.times_s[0]:.1f}" for track in person.doubtful)
            on_warning(f"looks do not say whether it is the same person who is followed from {times} s on")
        if side is None and (unused := 1 - _share(person.stretches, tracks)) >= NOTABLE_SHARE:
            on_warning(
                f"several faces at the same time: {100 * unused:.0f} % of the face detections are of others than the "
                "one followed, and not used"
            )
    landmarks, confidence = interpolate_faces(person.stretches, timeline.frames, longest_gap=2 * detect_every)
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
    tracker = FaceTracker(step=detect_every)
    last = timeline.frames - 1
    before: np.ndarray | None = None
    for frame in read_video(path, timeline=timeline, wanted=lambda i: i % detect_every == 0 or i == last):
        faces = detector.detect(frame.rgb)
        looks = [describe_face(align_face(frame.rgb, face.landmarks, CROP_SIZE)) for face in faces]
        layout = picture_layout(frame.rgb)
        new_scene = before is not None and scene_changed(before, layout)
        seen = [SeenFace(face, look) for face, look in zip(faces, looks, strict=True)]
        tracker.update(frame.index0, frame.time_s, seen, new_scene)
        before = layout
        if on_detection:
            on_detection(frame.index0 + 1)
    return tracker.tracks


def _share(some: Sequence[FaceTrack], tracks: Sequence[FaceTrack]) -> float:
    """Share of the detections in all tracks that are in some of them."""
    ours, every = (sum(len(track.indices) for track in several) for several in (some, tracks))
    return ours / every if every else 0.0


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
