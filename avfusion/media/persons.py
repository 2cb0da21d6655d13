"""Who is who among the stretches of detections of a video, and which of them are the main person's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from avfusion.media.association import FaceTrack
from avfusion.media.face_descriptor import UNLIKE, distance, nearer_by

LIKENESS = 0.4  # squared distance of mean looks up to which two stretches may be one person's
DIFFERENT = 0.15  # squared distance of mean looks from which on they tell two people apart
TOLD_APART = 0.5  # of `nearer_by`; mean looks waver less than those of single faces

Side = Literal["left", "right"]


@dataclass
class Followed:
    """The stretches of the person followed, in order of time.

    Attributes:
        stretches: No two of them have a moment in common.
        doubtful: Those of which looks do not say that they are this person's.
    """

    stretches: list[FaceTrack] = field(default_factory=list)
    doubtful: list[FaceTrack] = field(default_factory=list)


class Person:
    """Stretches that are one person's by their looks."""

    def __init__(self, track: FaceTrack) -> None:
        self.tracks = [track]

    @property
    def weight(self) -> float:
        """Area of the face, summed over the detections."""
        return sum(track.weight for track in self.tracks)

    @property
    def look(self) -> np.ndarray:
        """Mean look."""
        return np.average([t.look for t in self.tracks], axis=0, weights=[t.clear_looks for t in self.tracks])

    def seen_during(self, track: FaceTrack) -> bool:
        """Whether a stretch has a moment in common with this person's."""
        return any(track.overlaps(own) for own in self.tracks)

    def seen_with(self, other: "Person") -> bool:
        """Whether the two are seen at the same time, so that they are two."""
        return any(self.seen_during(track) for track in other.tracks)


def main_person(tracks: Sequence[FaceTrack], side: Side | None = None) -> Followed:
    """The stretches of detections that make up the main person.

    Cuts and absences break a person's detections into stretches. Stretches are one person's if their mean looks are
    near to one another, and clearly nearer than to anybody else's who could be meant; people seen at the same time are
    two. The main person is the one of the greatest weight: area of the face, summed over the detections. Their gaps are
    filled, by descending weight, with stretches of which looks do not say whose they are: whoever is seen while the
    main person is not, is followed then. Not taken are people seen together with the main person, stretches that look
    like one of those rather, and stretches in which the face is always mixed with another one.

    With `side` there are two main persons: the one of the greatest weight, and the next that was seen together with
    that one (where nobody was: the next). The left one is who is further left, on average, where both are seen. Of the
    stretches of which looks do not say whose they are, each gets those on its side: left or right of who else is seen
    then. Somebody seen alone is on the side whose person is nearer on average, and must not look unlike that person.
    """
    persons = who_is_who(tracks)
    if not persons:
        return Followed()
    if side is None:
        others = [person for person in persons if person.seen_with(persons[0])]
        return _filled(persons[0], others, tracks, lambda track: True)
    left, right = _pair(persons)
    wanted, other = (left, right) if side == "left" else (right, left)
    others = [person for person in persons if person is other or person.seen_with(wanted)]
    return _filled(wanted, others, tracks, lambda track: _is_on_side(track, wanted, other, side, tracks))


def who_is_who(tracks: Sequence[FaceTrack]) -> list[Person]:
    """The persons, by descending weight; a stretch of which looks do not say whose it is makes a person of its own."""
    persons: list[Person] = []
    clear = [track for track in tracks if _is_clear(track)]
    for track in _ranked(tracks):
        possible = [person for person in persons if not person.seen_during(track)]
        likeness = [distance(track.look, person.look) for person in possible]
        likest = possible[int(np.argmin(likeness))] if likeness else None
        if likest and min(likeness) <= LIKENESS and _is_clear(track) and _is_theirs(track, likest, possible, clear):
            likest.tracks.append(track)
        else:
            persons.append(Person(track))
    return sorted(persons, key=lambda person: -person.weight)


def _is_theirs(track: FaceTrack, person: Person, possible: Sequence[Person], tracks: Sequence[FaceTrack]) -> bool:
    """Whether a stretch is one person's rather than anybody else's, and the person in it rather than in any other."""
    looks = [other.look for other in possible if other is not person]
    looks += [o.look for o in tracks if o not in person.tracks and person.seen_during(o) and not o.overlaps(track)]
    theirs = all(nearer_by(track.look, person.look, look, DIFFERENT) >= TOLD_APART for look in looks)
    beside = [o.look for o in tracks if o is not track and o.overlaps(track) and not person.seen_during(o)]
    return theirs and all(nearer_by(person.look, track.look, look, DIFFERENT) >= TOLD_APART for look in beside)


def _filled(
    person: Person, others: Sequence[Person], tracks: Sequence[FaceTrack], fits: Callable[[FaceTrack], bool]
) -> Followed:
    """The person's stretches, and in their gaps those that fit and are nobody else's by their looks."""
    taken, doubtful = list(person.tracks), []
    for track in _ranked(tracks):
        if not _is_clear(track) or any(track.overlaps(own) for own in taken) or not fits(track):
            continue
        if any(track in other.tracks or _tells(track, other, person) for other in others):
            continue
        taken.append(track)
        doubtful.append(track)
    in_time = [sorted(some, key=lambda track: track.indices[0]) for some in (taken, doubtful)]
    return Followed(*in_time)


def _pair(persons: Sequence[Person]) -> tuple[Person, Person]:
    """The left and the right main person; the same one twice where there is nobody else."""
    first = persons[0]
    second = next((p for p in persons[1:] if p.seen_with(first)), persons[min(1, len(persons) - 1)])
    return (first, second) if _further_right(second.tracks, first.tracks) >= 0 else (second, first)


def _is_on_side(track: FaceTrack, wanted: Person, other: Person, side: Side, tracks: Sequence[FaceTrack]) -> bool:
    beside = [another for another in _ranked(tracks) if another is not track and another.overlaps(track)]
    if beside:
        return (_further_right([track], beside[:1]) < 0) == (side == "left")
    to_wanted, to_other = (abs(_further_right([track], person.tracks)) for person in (wanted, other))
    return to_wanted <= to_other and distance(track.look, wanted.look) <= UNLIKE


def _further_right(some: Sequence[FaceTrack], others: Sequence[FaceTrack]) -> float:
    """How many pixels further right some stretches lie than others: in the frames of both, or else on average."""
    ours, theirs = (
        {i: float(face.box[0] + face.box[2]) / 2 for t in tracks for i, face in zip(t.indices, t.faces, strict=True)}
        for tracks in (some, others)
    )
    shared = sorted(ours.keys() & theirs.keys())
    if shared:
        return float(np.mean([ours[i] - theirs[i] for i in shared]))
    return float(np.mean(list(ours.values())) - np.mean(list(theirs.values())))


def _tells(track: FaceTrack, one: Person, other: Person) -> bool:
    """Whether a stretch's look is clearly one person's rather than another's."""
    return nearer_by(track.look, one.look, other.look, DIFFERENT) >= TOLD_APART


def _is_clear(track: FaceTrack) -> bool:
    """Whether its look is not only that of faces mixed with others."""
    return track.clear_looks >= 1


def _ranked(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    return sorted(tracks, key=lambda track: (-track.weight, track.indices[0]))
