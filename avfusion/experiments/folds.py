"""Folds of a cross-validation over groups of videos: fold 0 is the official split; the others part no group."""

from collections.abc import Sequence
from dataclasses import dataclass

from avfusion.data.track_data import TrackData
from avfusion.runtime.errors import BadInputError


@dataclass(frozen=True)
class Fold:
    """Tracks to train on, and tracks to score."""

    train: list[TrackData]
    validation: list[TrackData]


def grouped_folds(train: Sequence[TrackData], validation: Sequence[TrackData], folds: int) -> list[Fold]:
    """The official split, then `folds` - 1 parts of the training groups, each scored by models trained on all other
    tracks.

    The official split is taken as it is, even where a group is on both its sides (`shared_groups`). In the other folds
    the validation tracks of such a group are trained on only where none of it is scored.

    Raises:
        BadInputError: fewer than two folds, or too few training groups for them.
    """
    from sklearn.model_selection import GroupKFold

    groups = [track.group for track in train]
    if folds < 2 or (folds > 2 and len(set(groups)) < folds - 1):
        raise BadInputError(
            f"folds is {folds}: must be from 2 to {len(set(groups)) + 1}, a training group of videos for each part"
        )
    found = [Fold(list(train), list(validation))]
    # Two folds: the official split both ways round.
    parts = GroupKFold(folds - 1).split(groups, groups=groups) if folds > 2 else [([], range(len(train)))]
    for rest, held in parts:
        scored = [train[i] for i in held]
        apart = {track.group for track in scored}
        others = [track for track in validation if track.group not in apart]
        found.append(Fold([train[i] for i in rest] + others, scored))
    return found


def shared_groups(fold: Fold) -> list[str]:
    """The groups on both sides of a fold, sorted: its scores are too high by what training learned of them."""
    return sorted({track.group for track in fold.train} & {track.group for track in fold.validation})
