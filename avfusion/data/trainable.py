"""Check that a corpus can train a model: the splits train and val need a labelled track each.

Checked at once, since training begins only hours later, after the faces of all videos have been found.
"""

from collections.abc import Collection, Iterable, Sequence

from avfusion.corpora.layout import RawTrack
from avfusion.corpora.table import Track
from avfusion.runtime.errors import BadInputError

NEEDED = ("train", "val")
FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
ONLY_READ = (
    "no track has labels: to read videos with a trained model no corpus is needed (`avfusion predict VIDEO`), and "
    "`dvc repro frames audio` prepares crops and sound alone"
)


def is_unlabelled(tracks: Sequence[RawTrack | Track]) -> bool:
    """Whether a corpus is not meant for training: no labels, and no track in train or val."""
    return not any(track.labels_path or track.split in NEEDED for track in tracks)


def training_faults(
    tracks: Sequence[RawTrack | Track],
    corpus: str,
    unreadable: Collection[str] = frozenset(),
    bare: Collection[str] = frozenset(),
) -> list[str]:
    """Why no model can be trained: a sentence, with a remedy, for each split that lacks something.

    Args:
        corpus: Name of the corpus, on which the place of splits depends.
        unreadable: Names of the tracks whose video is known to be unreadable.
        bare: Names of the tracks whose labels are known to reach no frame.
    """
    faults = []
    for split in NEEDED:
        own = [track for track in tracks if track.split == split]
        labelled = [track for track in own if track.labels_path]
        readable = [track for track in labelled if track.video_path and track.track not in unreadable]
        if any(track.track not in bare for track in readable):
            continue
        if readable:
            names = _some(track.labels_path for track in readable)
            faults.append(
                f"no frame of the split {split} has a label ({names}): `avfusion doctor` says what they cover"
            )
        elif labelled:
            names = _some(track.video_path or track.track for track in labelled)
            why = "has a video that can be read"
            faults.append(f"no labelled track of the split {split} {why} ({names}): copy the videos again")
        elif own:  # only in a manifest
            faults.append(f"no track of the split {split} has labels: name their files in the manifest's column labels")
        elif corpus == "manifest":
            rows = "some rows of the manifest that have labels"
            faults.append(f"the split {split} is empty: write {split} into the column split of {rows}")
        else:
            faults.append(f"the split {split} is empty: put annotation files into a folder {FOLDERS[split]}")
    return faults


def _some(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def refuse_untrainable(
    tracks: Sequence[RawTrack | Track],
    corpus: str,
    unreadable: Collection[str] = frozenset(),
    bare: Collection[str] = frozenset(),
) -> None:
    """Refuse a corpus that is meant for training but lacks a split; arguments as for `training_faults`.

    Raises:
        BadInputError: a split is missing something; the message says what, and the remedy.
    """
    faults = [] if is_unlabelled(tracks) else training_faults(tracks, corpus, unreadable, bare)
    if faults:
        raise BadInputError(f"no model can be trained: {'; '.join(faults)}")


def refuse_unlabelled(tracks: Sequence[RawTrack | Track]) -> None:
    """Refuse a corpus that is not meant for training, before steps that only serve training.

    Raises:
        BadInputError: the corpus has no labels; the message says what it can be used for.
    """
    if is_unlabelled(tracks):
        raise BadInputError(f"no model can be trained: {ONLY_READ}")
