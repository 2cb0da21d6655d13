"""Groups: tracks that are not independent of each other, since they show one recording, session or person.

A group is never split: folds, the videos that stop a training, and what an interval leaves out are made of whole
groups. A video is a group of its own unless the corpus says more: the names of Aff-Wild2's parts, or a manifest's
column `group`. The tracks of a video share scene and sound, so a video with people of two groups joins these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from avfusion.corpora.layout import RawTrack
from avfusion.runtime.quantities import counted

NAMES_SHOWN = 20


class Grouped(Protocol):
    """What has a group and a split: a raw track, a row of the table of tracks, or a track's features."""

    @property
    def track(self) -> str:
        """Name of the track."""

    @property
    def video(self) -> str:
        """Name of its video."""

    @property
    def group(self) -> str:
        """Name of its group."""

    @property
    def split(self) -> str:
        """Name of its split; "" for none."""


def join_by_video(tracks: Sequence[RawTrack]) -> list[RawTrack]:
    """The tracks, those of groups that share a video in one group, whose name joins theirs by ` + `."""
    joined: dict[str, set[str]] = {track.group: {track.group} for track in tracks}
    first: dict[str, str] = {}  # a group by video
    for track in tracks:
        ours, theirs = joined[track.group], joined[first.setdefault(track.video, track.group)]
        if ours is not theirs:
            theirs |= ours
            joined |= dict.fromkeys(ours, theirs)
    return [replace(track, group=" + ".join(sorted(joined[track.group]))) for track in tracks]


def groups_across_splits(tracks: Sequence[Grouped]) -> dict[str, list[str]]:
    """The splits of each group that is in more than one of them, by its name; both sorted.

    Tracks of no split count for none: they are neither trained on nor scored.
    """
    splits: dict[str, set[str]] = {}
    for track in tracks:
        splits.setdefault(track.group, set()).update({track.split} - {""})
    return {group: sorted(found) for group, found in sorted(splits.items()) if len(found) > 1}


def warn_of_leaks(tracks: Sequence[RawTrack]) -> tuple[RawTrack, ...]:
    """The tracks, with a warning where the tracks of their video, or of their group, are in several splits."""
    videos = groups_across_splits([replace(track, group=track.video) for track in tracks])
    groups = groups_across_splits(tracks)
    return tuple(replace(track, warnings=(*track.warnings, *_leaks(track, videos, groups))) for track in tracks)


def _leaks(
    track: RawTrack, videos: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    if found := videos.get(track.video):
        return (f"its video is in several splits ({', '.join(found)})",)
    if found := groups.get(track.group):
        return (f"its group {track.group!r} is in several splits ({', '.join(found)})",)
    return ()


def describe_groups(tracks: Sequence[Grouped]) -> tuple[str, str]:
    """Which groups join videos, and which are in several splits; "" for none."""
    videos: dict[str, set[str]] = {}
    for track in tracks:
        videos.setdefault(track.group, set()).add(track.video)
    joined = {group: len(own) for group, own in sorted(videos.items()) if len(own) > 1}
    apart = groups_across_splits(tracks)
    several = crossing = ""
    if joined:
        names = _some([f"{group} ({count})" for group, count in joined.items()])
        several = f"{counted(len(videos), 'group')} of {counted(sum(map(len, videos.values())), 'video')}: {names}"
    if apart:
        names = _some([f"{group} ({', '.join(splits)})" for group, splits in apart.items()])
        crossing = (
            f"{counted(len(apart), 'group')} in several splits: {names}: scores of such a split are too high by what "
            "training learned of its groups"
        )
    return several, crossing


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
