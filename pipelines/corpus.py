"""DVC stage `corpus`: data/sources.txt -> data/corpus/tracks.parquet, one row per track."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.table import write_tracks
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.stages import stage


def main() -> None:
    """Build the table of tracks."""
    with stage("corpus", "common", "corpus") as s:
        tracks = build_tracks(
            corpus_root(s.root, s.params.corpus),
            s.params.corpus,
            s.root / "data" / "sources.txt",
            execution=s.params.execution,
            on_error=s.params.common.on_error,
            cache=s.work / "probes.json",
        )
        shared = shared_digest(tracks, s.root / "data" / "sources.txt")
        write_tracks(s.root / "data" / "corpus" / "tracks.parquet", tracks, shared)
        print(f"corpus: {len(tracks)} tracks, {sum(bool(track.warnings) for track in tracks)} with warnings")


if __name__ == "__main__":
    main()
