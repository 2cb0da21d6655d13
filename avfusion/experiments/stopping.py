"""The inner stopping split: training groups that decide when a training stops, so that validation scores once.

With `train.stopping: inner` a tenth of the training groups is set aside. Neither backbones nor fusion models train on
these tracks; both choose their epochs by them, and so do the learning rate and sweeps. The official validation split
is then read for scores alone, which a choice among many trainings does not raise.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from avfusion.corpora.groups import Grouped
from avfusion.corpora.table import Track

Stopping = Literal["inner", "validation"]
SHARE, LEAST = 0.1, 2  # share of the training groups, and how many at least
FEWEST = 10  # training groups, below which there is no inner split
SEED = 0  # of the draw, which stays the same whatever seed a model is trained with
AnyTrack = TypeVar("AnyTrack", bound=Grouped)


def used_stopping(stopping: Stopping, tracks: Iterable[Grouped]) -> Stopping:
    """`validation` also where `inner` is asked for and the training split has fewer than 10 groups."""
    groups = {track.group for track in tracks if track.split == "train"}
    return stopping if len(groups) >= FEWEST else "validation"


def few_groups_warning(stopping: Stopping, tracks: Sequence[Grouped]) -> str:
    """What to tell where an inner split is asked for and cannot be made; "" elsewhere."""
    if stopping == used_stopping(stopping, tracks):
        return ""
    count = len({track.group for track in tracks if track.split == "train"})
    return (
        f"train.stopping is inner, but the training split has {count} groups of videos and an inner split needs "
        f"{FEWEST}: the validation split decides when trainings stop, so its scores are too high; trust the test split"
    )


def stopping_groups(groups: Iterable[str]) -> frozenset[str]:
    """A tenth of the groups, at least two, drawn by a hash of their names.

    The draw of a group depends on no other group, so that one video more changes the split by one group at most.
    """

    def drawn(group: str) -> bytes:
        return hashlib.sha256(f"{SEED} {group}".encode()).digest()

    found = sorted(set(groups), key=drawn)
    return frozenset(found[: max(LEAST, round(SHARE * len(found)))])


def part(tracks: Sequence[AnyTrack], of: Sequence[Grouped] = ()) -> tuple[list[AnyTrack], list[AnyTrack]]:
    """Training tracks without those that are set aside, and these; no group is in both.

    Args:
        of: the training tracks that the groups are drawn from; none: `tracks` themselves.
    """
    groups = stopping_groups(track.group for track in of or tracks)
    sides: tuple[list[AnyTrack], list[AnyTrack]] = ([], [])
    for track in tracks:
        sides[track.group in groups].append(track)
    return sides


def in_place_of_validation(tracks: Sequence[Track]) -> list[Track]:
    """The table as a training with the inner split sees it: `val` are the tracks that are set aside.

    Tracks of the official validation split are left out; those of no split and of test stay.
    """
    _, apart = part([track for track in tracks if track.split == "train"])
    names = {track.track for track in apart}
    return [replace(t, split="val") if t.track in names else t for t in tracks if t.split != "val"]
