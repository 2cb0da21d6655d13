import cv2
import numpy as np
import pytest

from avfusion.media.scenes import picture_layout, scene_changed


@pytest.fixture
def room():
    rng = np.random.default_rng(1)
    return cv2.resize(rng.integers(60, 200, (4, 6, 3), dtype=np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC)


def _changed(before, after):
    return scene_changed(picture_layout(before), picture_layout(after))


def test_another_room_is_another_scene(room):
    assert _changed(room, np.ascontiguousarray(room[:, ::-1]))
    assert not _changed(room, room)


def test_exposure_and_what_moves_are_not(room):
    assert not _changed(room, cv2.convertScaleAbs(room, alpha=0.7))
    passing = room.copy()
    passing[20:, 90:240] = 20
    assert not _changed(room, passing)
    assert _changed(room, np.full_like(room, 90))
