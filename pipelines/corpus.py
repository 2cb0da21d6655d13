"""DVC stage `corpus`: data/sources.txt -> data/corpus/tracks.parquet, one row per track."""

from avfusion.corpora.adapters import corpus_root, open_corpus
from avfusion.corpora.table import write_tracks
from avfusion.data.label_coverage import labels_nothing
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.data.trainable import refuse_untrainable
from avfusion.experiments.stage import stage
from avfusion.runtime.errors import BadInputError


def main() -> None:
    """Build the table of tracks of a corpus that can train, or that has no labels at all."""
    with stage("corpus", "common", "corpus") as s:
        root = corpus_root(s.root, s.params.corpus)
        refuse_untrainable(open_corpus(s.params.corpus, root).tracks, s.params.corpus.name)  # before videos are read
        tracks = build_tracks(
            root,
            s.params.corpus,
            s.root / "data" / "sources.txt",
            execution=s.params.execution,
            on_error=s.params.common.on_error,
            cache=s.work / "probes.json",
        )
        unreadable = {track.track for track in tracks if not track.frames}
        bare = {track.track for track in tracks if labels_nothing(track.warnings)}
        try:
            refuse_untrainable(tracks, s.params.corpus.name, unreadable, bare)
        except BadInputError:
            s.record_failures({track.track: "; ".join(track.warnings) for track in tracks if track.track in unreadable})
            raise
        shared = shared_digest(tracks, s.root / "data" / "sources.txt")
        write_tracks(s.root / "data" / "corpus" / "tracks.parquet", tracks, shared)
        print(f"corpus: {len(tracks)} tracks, {sum(bool(track.warnings) for track in tracks)} with warnings")


if __name__ == "__main__":
    main()
