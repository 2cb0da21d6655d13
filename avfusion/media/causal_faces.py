"""The face to follow, frame by frame, from past frames alone: for live input.

`avfusion.media.face_tracks` looks ahead: it chooses the main person from the whole video and interpolates between
detections. Here, the face of the latest detection is held until the next one, and each detection decides anew who is
followed.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np

from avfusion.media.alignment import TEMPLATE_SIZE, align_face
from avfusion.media.association import FaceTracker, SeenFace
from avfusion.media.boxes import areas
from avfusion.media.face_descriptor import CROP_SIZE, describe_face
from avfusion.media.face_tracks import FaceCrop
from avfusion.media.faces import USUAL_FACE, Face, FaceDetector
from avfusion.media.scenes import picture_layout, scene_changed
from avfusion.media.timeline import Timeline
from avfusion.media.video import VideoFrame, read_video


def followed_face(
    path: str | os.PathLike[str],
    timeline: Timeline,
    *,
    detect_every: int,
    min_confidence: float,
    min_face: int = USUAL_FACE,
    before: Callable[[float], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[FaceCrop]:
    """The followed face in every frame of a video, decoded once; no face where a frame cannot be decoded.

    Args:
        detect_every, min_confidence, min_face: As for `FaceFollower`.
        before: Called with the time of a decoded frame before detection.
        on_warning: Called with a warning about frames that cannot be decoded.
    """
    follower = FaceFollower(detect_every=detect_every, min_confidence=min_confidence, min_face=min_face)
    following = 0
    for frame in read_video(path, timeline=timeline, on_warning=on_warning):
        yield from _without_face(timeline, following, frame.index0)
        if before:
            before(frame.time_s)
        yield follower.crop(frame)
        following = frame.index0 + 1
    yield from _without_face(timeline, following, timeline.frames)


def _without_face(timeline: Timeline, start: int, stop: int) -> Iterator[FaceCrop]:
    for index in range(start, stop):
        yield FaceCrop(index + 1, float(timeline.times_s[index]), None, 0.0)


class FaceFollower:
    """Gives the crop of each frame, in order; equal frames give equal crops.

    Faces are detected on every n-th frame. Of the persons seen there, the one with the greatest weight so far is
    followed (area of the face, summed over the detections without a long absence). Its landmarks, box and confidence
    hold until the next detection; a detection without persons leaves the frames up to the next one without a face.
    """

    def __init__(
        self,
        *,
        detect_every: int = 5,
        min_confidence: float = 0.9,
        min_face: int = USUAL_FACE,
        size: int = TEMPLATE_SIZE,
    ) -> None:
        self._detect_every, self._size = detect_every, size
        self._detector = FaceDetector(min_face, thresholds=(0.6, 0.7, min_confidence))
        self._tracker = FaceTracker(step=detect_every)
        self._weights: dict[int, float] = {}  # of tracks by position; summing anew would take ever longer
        self._layout: np.ndarray | None = None
        self._looked_at = -detect_every
        self._face: Face | None = None

    def crop(self, frame: VideoFrame) -> FaceCrop:
        """The crop of the next frame."""
        if frame.index0 - self._looked_at >= self._detect_every:
            self._face = self._look(frame)
            self._looked_at = frame.index0
        if self._face is None:
            return FaceCrop(frame.index0 + 1, frame.time_s, None, 0.0)
        crop = align_face(frame.rgb, self._face.landmarks, self._size)
        return FaceCrop(frame.index0 + 1, frame.time_s, crop, self._face.confidence, self._face.box)

    def _look(self, frame: VideoFrame) -> Face | None:
        faces = self._detector.detect(frame.rgb)
        looks = [describe_face(align_face(frame.rgb, face.landmarks, CROP_SIZE)) for face in faces]
        layout = picture_layout(frame.rgb)
        new_scene = self._layout is not None and scene_changed(self._layout, layout)
        seen = [SeenFace(face, look) for face, look in zip(faces, looks, strict=True)]
        self._tracker.update(frame.index0, frame.time_s, seen, new_scene)
        self._layout = layout
        return self._heaviest(frame.index0)

    def _heaviest(self, index: int) -> Face | None:
        now = [(n, track) for n, track in enumerate(self._tracker.tracks) if track.indices[-1] == index]
        for number, track in now:
            area = float(areas(track.faces[-1].box[None])[0])
            self._weights[number] = self._weights.get(number, 0.0) + area
        if not now:
            return None
        return max(now, key=lambda one: (self._weights[one[0]], -one[0]))[1].faces[-1]
