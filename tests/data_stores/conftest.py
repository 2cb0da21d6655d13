"""Tracks of small corpora on disk."""

from collections.abc import Callable

import pytest

from avfusion.corpora.table import Track


@pytest.fixture
def make_track() -> Callable[..., Track]:
    def make(name: str, video_path: str, **changes: object) -> Track:
        values = {
            "track": name,
            "video": name,
            "split": "train",
            "video_path": video_path,
            "crops_paths": (),
            "labels_path": "",
            "video_hash": f"video of {video_path}",
            "crops_hash": "",
            "labels_hash": "",
            "frames": 65,
            "fps": 25.0,
            "duration_s": 2.6,
            "has_audio": True,
            "label_rows": 0,
            "crops": 0,
            "warnings": (),
        }
        return Track(**(values | changes))

    return make
