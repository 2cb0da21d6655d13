"""Out-of-fold features: a training track's features come from backbones that never saw its video.

Backbones fit the tracks that they were trained on better than new ones; fusion trained on such features learns to trust
them too much (arXiv 2209.09068 trains on them). So for each fold of the training split's groups both backbones are
trained without the fold, in `models/backbones/fold-<i>/`, and give the features of its tracks. All other tracks, and
inference, use the backbones of all training tracks. The feature spec names these: it describes the features that a
model expects, and a fold's features stand in for those of an unseen video. The fingerprint and the feature file of a
track record the weights that made its features.
"""

from collections.abc import Sequence
from pathlib import Path

from avfusion.backbones.weights import read_backbone_record
from avfusion.corpora.table import Track
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.quantities import counted

STREAMS = ("audio", "visual")
HELD_OUT = "held_out"  # in the provenance of a fold's backbones: groups that they were not trained on


def fold_folder(backbones: Path, fold: int) -> Path:
    """The folder of a fold's backbones; folds count from 1, and 0 stands for the backbones of all training tracks."""
    return backbones / f"fold-{fold}" if fold else backbones


def split_groups(tracks: Sequence[Track], folds: int) -> list[list[str]]:
    """Groups of the training split, sorted, in folds of about equally many tracks.

    Raises:
        BadInputError: there are fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    groups = sorted(track.group for track in tracks if track.split == "train")
    if len(set(groups)) < folds:
        raise BadInputError(
            f"backbones.folds is {folds}: the training split has {counted(len(set(groups)), 'group')} of videos, "
            "and folds share none"
        )
    parts = GroupKFold(n_splits=folds).split(groups, groups=groups)
    return [sorted({groups[index] for index in held_out}) for _, held_out in parts]


def without_groups(tracks: Sequence[Track], groups: Sequence[str]) -> list[Track]:
    """The tracks without those of the training split that belong to these groups."""
    return [track for track in tracks if track.split != "train" or track.group not in groups]


def backbone_folders(backbones: Path, tracks: Sequence[Track], folds: int) -> dict[str, Path]:
    """The folder of the backbones for each track's features, by track name.

    Raises:
        AVFusionError: a fold's backbones are missing, or no fold held a training track's group out.
    """
    held_out = {}
    for fold in range(1, folds + 1):
        folder = fold_folder(backbones, fold)
        apart = [read_backbone_record(folder, stream).provenance.get(HELD_OUT, []) for stream in STREAMS]
        for group in set(apart[0]) & set(apart[1]):
            held_out[group] = folder
    chosen = {}
    for track in tracks:
        chosen[track.track] = backbones
        if folds and track.split == "train":
            if track.group not in held_out:
                raise AVFusionError(
                    f"no fold of {backbones} was trained without {track.group}: run the stage `backbones` again"
                )
            chosen[track.track] = held_out[track.group]
    return chosen


def weights_of_fold(backbones: Path, folder: Path) -> dict[str, str] | None:
    """SHA-256 of each stream's weights in a fold's folder; None for the backbones of all training tracks."""
    if folder == backbones:
        return None
    return {stream: read_backbone_record(folder, stream).identity.sha256 for stream in STREAMS}
