"""The followed face from the past alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from avfusion.media.causal_faces import FaceFollower, followed_face
from avfusion.media.timeline import read_timeline
from avfusion.media.video import VideoFrame

SIDE = 256


def face(shift: int = 0) -> np.ndarray:
    return np.roll(data.astronaut()[:SIDE, 96 : 96 + SIDE], shift, axis=1)


def empty() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 90, np.uint8)


def follow(pictures: list[np.ndarray], detect_every: int = 4) -> list:
    follower = FaceFollower(detect_every=detect_every)
    return [follower.crop(VideoFrame(i, i / 25, np.ascontiguousarray(p))) for i, p in enumerate(pictures)]


def test_a_face_is_held_from_one_detection_to_the_next() -> None:
    crops = follow([face(i) for i in range(9)] + [empty()] * 8)
    boxes = [None if crop.box is None else float(crop.box[0]) for crop in crops]
    assert boxes[0] == boxes[1] == boxes[3]
    assert boxes[4] == pytest.approx(boxes[0] + 4, abs=2), "every fourth frame is looked at"
    assert boxes[8] == boxes[11], "held, though the face is gone"
    assert all(crop.rgb is None and crop.confidence == 0 for crop in crops[12:])


def test_what_comes_later_changes_nothing() -> None:
    start = [np.concatenate([face(), empty()], axis=1)] * 6
    later = [np.concatenate([empty(), face()], axis=1)] * 20
    for alone, whole in zip(follow(start), follow(start + later), strict=False):
        np.testing.assert_array_equal(alone.rgb, whole.rgb)


def test_who_is_larger_is_followed_once_seen_for_long_enough() -> None:
    small = empty()
    small[64:192, 64:192] = cv2.resize(face(), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    alone = np.concatenate([small, empty()], axis=1)
    both = np.concatenate([small, face()], axis=1)
    crops = follow([alone] * 24 + [both] * 16)
    assert all(crop.box is not None for crop in crops)
    right = [bool(crop.box[0] > SIDE) for crop in crops]
    assert not any(right[:28]), "a quarter of the area, but seen for six detections"
    assert all(right[36:])
    assert sorted(right) == right, "one change, no flicker"


def test_the_smallest_face_is_a_setting() -> None:
    small = empty()
    small[100:144, 100:144] = cv2.resize(face(), (44, 44), interpolation=cv2.INTER_AREA)
    frame = VideoFrame(0, 0.0, small)
    assert FaceFollower().crop(frame).box is None
    assert FaceFollower(min_face=14).crop(frame).box is not None


def test_every_frame_of_a_video_has_its_place(tmp_path: Path, media) -> None:
    path = media(tmp_path / "v.mp4", [face()] * 7, np.arange(7) / 25)
    asked: list[float] = []
    crops = list(followed_face(path, read_timeline(path), detect_every=5, min_confidence=0.9, before=asked.append))
    assert [crop.frame for crop in crops] == list(range(1, 8))
    assert asked == [crop.time_s for crop in crops]
