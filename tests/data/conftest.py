"""Tracks of small corpora on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from avfusion.corpora.source_hashes import crops_source, file_source
from avfusion.corpora.table import Track


@pytest.fixture
def scanned() -> Callable[[Path, list[Track]], list[Track]]:
    """Tracks with the hashes of their files as they are now."""

    def scan(root: Path, tracks: list[Track]) -> list[Track]:
        return [
            replace(
                track,
                video_hash=file_source(root / track.video_path).digest,
                crops_hash="+".join(crops_source(root / path).digest for path in track.crops_paths),
            )
            for track in tracks
        ]

    return scan


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
