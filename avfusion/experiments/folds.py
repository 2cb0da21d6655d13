"""Folds of a cross-validation over base videos: fold 0 is the official split; no video is on both sides of a fold."""

from collections.abc import Sequence
from dataclasses import dataclass

from avfusion.data.track_data import TrackData
from avfusion.runtime.errors import AVFusionError, BadInputError


@dataclass(frozen=True)
class Fold:
    """Tracks to train on, and tracks to score."""

    train: list[TrackData]
    validation: list[TrackData]


def grouped_folds(train: Sequence[TrackData], validation: Sequence[TrackData], folds: int) -> list[Fold]:
    """The official split, then `folds` - 1 parts of the training videos, each scored by models trained on all other
    tracks.

    Raises:
        BadInputError: fewer than two folds, or too few training videos for them.
        AVFusionError: the official split has a base video on both sides.
    """
    from sklearn.model_selection import GroupKFold

    videos = [track.video for track in train]
    if folds < 2 or (folds > 2 and len(set(videos)) < folds - 1):
        raise BadInputError(
            f"folds is {folds}: must be from 2 to {len(set(videos)) + 1}, a training video for each part"
        )
    found = [Fold(list(train), list(validation))]
    # Two folds: the official split both ways round.
    parts = GroupKFold(folds - 1).split(videos, groups=videos) if folds > 2 else [([], range(len(train)))]
    for rest, held in parts:
        found.append(Fold([train[i] for i in rest] + list(validation), [train[i] for i in held]))
    for number, fold in enumerate(found):
        refuse_leakage(fold, f"fold {number}")
    return found


def refuse_leakage(fold: Fold, name: str) -> None:
    """Refuse a base video on both sides.

    Raises:
        AVFusionError: a base video is on both sides; the message names it.
    """
    shared = {track.video for track in fold.train} & {track.video for track in fold.validation}
    if shared:
        raise AVFusionError(f"{name}: trained and scored on the same videos: {', '.join(sorted(shared))}")
