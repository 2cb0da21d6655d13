"""The face detector on the demo's videos: share of unoccluded frames with a face, and of occluded ones.

Every tenth frame of twelve videos of one person, spread over the corpus.
"""

from pathlib import Path

import pyarrow.parquet as pq

from avfusion.corpora.table import read_tracks
from avfusion.media.faces import FaceDetector
from avfusion.media.video import read_video

EVERY, VIDEOS, NEEDED = 10, 12, 0.95


def main() -> None:
    """Count."""
    root = Path.cwd()
    tracks = [track for track in read_tracks(root / "data/corpus/tracks.parquet") if track.track == track.video]
    detector = FaceDetector()
    seen, found = [0, 0], [0, 0]
    for track in tracks[:: len(tracks) // VIDEOS][:VIDEOS]:
        occluded = pq.read_table(root / "data/raw/demo/truth" / f"{track.track}.parquet")["occluded"].to_pylist()
        for frame in read_video(root / "data/raw/demo" / track.video_path):
            if frame.index0 % EVERY == 0 and frame.index0 < len(occluded):
                hidden = int(occluded[frame.index0])
                seen[hidden] += 1
                found[hidden] += bool(detector.detect(frame.rgb))
    rate = found[0] / seen[0]
    print(f"face found in {rate:.1%} of {seen[0]} unoccluded frames, {found[1] / max(seen[1], 1):.1%} of occluded ones")
    raise SystemExit(int(rate < NEEDED))


if __name__ == "__main__":
    main()
