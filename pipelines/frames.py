"""DVC stage `frames`: videos and face crops -> data/frames/<track>.parquet, reports/faces/."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.table import read_tracks
from avfusion.data.frame_store import update_frames
from avfusion.experiments.stage import stage


def main() -> None:
    """Bring the frame tables and contact sheets up to date."""
    with stage("frames", "common", "corpus", "frames") as s:
        report = update_frames(
            s.root / "data" / "frames",
            s.root / "reports" / "faces",
            corpus_root(s.root, s.params.corpus),
            read_tracks(s.root / "data" / "corpus" / "tracks.parquet"),
            s.params.frames,
            s.params.execution,
            s.params.common.on_error,
        )
        s.record_failures(report.failed)


if __name__ == "__main__":
    main()
