"""data/labels/<track>.parquet: the labels of the video's frames, paired by frame number."""

from collections.abc import Sequence
from pathlib import Path

from avfusion.config import Execution
from avfusion.corpora.table import Track
from avfusion.data.labels import VERSION, read_annotations, read_parquet_fingerprint, write_labels
from avfusion.data.store import StoreReport, update_store
from avfusion.errors import BadInputError
from avfusion.fingerprints import file_digest, fingerprint


def update_labels(folder: Path, root: Path, tracks: Sequence[Track], execution: Execution) -> StoreReport:
    """Bring the label files up to date; a track without an annotation file has none.

    Row i of an annotation file belongs to video frame i; rows beyond the last frame are left out, and frames beyond
    the last row have no label.

    Args:
        folder: Where the label files are kept.
        root: Folder of the raw data.
        tracks: Tracks with a readable video.
        execution: How the files are written.

    Raises:
        BadInputError: annotation files cannot be used, or changed since the scan; all of them are listed.
    """
    labelled = [track for track in tracks if track.labels_path]
    files = {track.track: root / track.labels_path for track in labelled}
    if changed := [t.labels_path for t in labelled if _digest(files[t.track]) != t.labels_hash]:
        raise BadInputError(
            f"{len(changed)} annotation files changed since the last scan ({', '.join(changed[:5])}): "
            "run `avfusion scan`, then `dvc repro`"
        )
    tables = read_annotations(files, {track.track: track.labels_path for track in labelled})
    return update_store(
        folder,
        ".parquet",
        {t.track: fingerprint(labels=t.labels_hash, frames=t.frames, version=VERSION) for t in labelled},
        {t.track: tables[t.track].head(t.frames) for t in labelled},
        write_labels,
        read_parquet_fingerprint,
        execution=execution,
        label="labels",
    )


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
