"""DVC stage `labels`: annotation files -> data/labels/<track>.parquet."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.table import read_tracks
from avfusion.data.label_store import update_labels
from avfusion.data.trainable import refuse_unlabelled
from avfusion.experiments.stage import stage


def main() -> None:
    """Bring the label files up to date; a corpus without labels ends here, before the stages that take hours."""
    with stage("labels", "common", "corpus") as s:
        tracks = read_tracks(s.root / "data" / "corpus" / "tracks.parquet")
        refuse_unlabelled(tracks)
        root = corpus_root(s.root, s.params.corpus)
        folder, on_error, lags_s = s.root / "data" / "labels", s.params.common.on_error, s.params.corpus.lags_s
        s.record_failures(update_labels(folder, root, tracks, s.params.execution, on_error, lags_s).failed)


if __name__ == "__main__":
    main()
