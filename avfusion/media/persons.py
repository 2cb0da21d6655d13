"""Group the stretches of detections of a video by person, and choose the main person's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from avfusion.media.association import FaceTrack
from avfusion.media.face_descriptor import UNLIKE, distance, nearer_by

LIKENESS = 0.4  # greatest squared distance of mean looks at which two stretches may be one person's
DIFFERENT = 0.15  # least squared distance of mean looks that tells two people apart
TOLD_APART = 0.5  # least value of `nearer_by`; mean looks vary less than looks of single faces

LEAST_S = 1.0  # least seconds in view of a person followed beside the main person
MOST = 20  # persons followed

Side = Literal["left", "right"]


@dataclass
class Followed:
    """The stretches of a followed person, in order of time.

    Attributes:
        stretches: Tracks that do not overlap in time.
        doubtful: The stretches among them that looks do not assign to this person.
    """

    stretches: list[FaceTrack] = field(default_factory=list)
    doubtful: list[FaceTrack] = field(default_factory=list)


class Stretches:
    """Tracks with their times and looks as arrays, for comparing the thousands of tracks of a film."""

    def __init__(self, tracks: Sequence[FaceTrack]) -> None:
        self.tracks = list(tracks)
        self.first = np.array([track.indices[0] for track in tracks], np.int64)
        self.last = np.array([track.indices[-1] for track in tracks], np.int64)
        self.clear_looks = np.array([track.clear_looks for track in tracks])

    def __len__(self) -> int:
        return len(self.tracks)

    def take(self, chosen: np.ndarray) -> "Stretches":
        """A selection by positions or by mask."""
        return Stretches([self.tracks[i] for i in np.arange(len(self))[chosen]])

    @cached_property
    def looks(self) -> np.ndarray:
        """Mean looks, (n, K)."""
        return np.stack([track.look for track in self.tracks])

    @cached_property
    def look(self) -> np.ndarray:
        """Mean look of all, (K,)."""
        return np.average(self.looks, axis=0, weights=self.clear_looks)

    @cached_property
    def weights(self) -> np.ndarray:
        """Area of the face, summed over the detections, (n,)."""
        return np.array([track.weight for track in self.tracks])

    @cached_property
    def centre_x(self) -> float:
        """Mean horizontal position in pixels."""
        return float(np.mean([face.box[0] + face.box[2] for track in self.tracks for face in track.faces]) / 2)

    @property
    def seen_s(self) -> float:
        """Seconds from first to last detection, summed."""
        return sum(track.times_s[-1] - track.times_s[0] for track in self.tracks)

    def during(self, track: FaceTrack) -> np.ndarray:
        """Which stretches overlap a track in time, first to last detection; (n,) bool."""
        return (self.first <= track.indices[-1]) & (track.indices[0] <= self.last)

    def during_any(self, others: "Stretches") -> np.ndarray:
        """Which stretches overlap any of `others` in time, which do not overlap each other; (n,) bool."""
        order = np.argsort(others.first)
        following = np.searchsorted(others.last[order], self.first)
        begins = np.append(others.first[order], np.iinfo(np.int64).max)
        return begins[following] <= self.last


def main_person(tracks: Sequence[FaceTrack], side: Side | None = None) -> Followed:
    """The stretches of detections that make up the main person.

    Cuts and absences break a person's detections into stretches. Stretches belong to one person if their mean looks are
    close, and clearly closer than to any other candidate; people seen at the same time are different people. The main
    person has the greatest weight: area of the face, summed over the detections. Gaps are filled, by descending weight,
    with stretches that looks assign to nobody. Excluded are other people, stretches that look more like one of those,
    and stretches in which the face is always mixed with another. Other people are those seen together with the main
    person, and those seen for a second or longer who look unlike the main person (squared distance above `UNLIKE`) or
    are only in scenes without the main person.

    With `side` there are two main persons: the one of greatest weight, and the next one seen together with that person
    (if there is none: the next by weight). The left person is the one further left on average where both are seen.
    Other people are the other of the two, and those seen together with the wanted person.
    Stretches that looks assign to nobody go to the person on their side: left or right of the others seen then. A
    stretch seen alone goes to the person nearer on average, unless it looks unlike that person.
    """
    if not tracks:
        return Followed()
    everything = _ranked(tracks)
    persons = who_is_who(tracks)
    if side is None:
        return _main(persons, everything)
    left, right = _pair(persons)
    wanted, other = (left, right) if side == "left" else (right, left)
    others = [p for p in persons if p is not wanted and (p is other or p.during_any(wanted).any())]
    on_side = [_is_on_side(track, wanted, other, side, everything) for track in everything.tracks]
    return _filled(wanted, others, everything.take(np.array(on_side)))


def everybody(tracks: Sequence[FaceTrack]) -> list[Followed]:
    """Everybody seen for a second or longer, by descending weight, at most twenty, and always the main person.

    The main person comes first, with the same stretches as in `main_person`; the others have what is not among them.
    """
    if not tracks:
        return [Followed()]
    persons = who_is_who(tracks)
    main = _main(persons, _ranked(tracks))
    taken = {id(track) for track in main.stretches}
    rest = [Stretches([track for track in p.tracks if id(track) not in taken]) for p in persons[1:]]
    others = [person for person in rest if person.seen_s >= LEAST_S][: MOST - 1]
    return [main, *(Followed(sorted(other.tracks, key=lambda track: track.indices[0])) for other in others)]


def scene_cuts(tracks: Sequence[FaceTrack]) -> list[int]:
    """0-based frames, ascending, in which the picture had changed as a whole and ended a track."""
    return sorted({track.end_index for track in tracks if track.end == "scene"})


def who_is_who(tracks: Sequence[FaceTrack]) -> list[Stretches]:
    """The persons, by descending weight; a stretch that looks assign to nobody becomes a person of its own."""
    everything = _ranked(tracks)
    clear = everything.take(everything.clear_looks >= 1)
    owners = np.full(len(clear), -1)
    sums, counts = np.zeros((len(clear), everything.looks.shape[1])), np.zeros(len(clear))
    known = 0
    for i, track in enumerate(clear.tracks):
        free = np.ones(known, bool)
        free[owners[:i][clear.during(track)[:i]]] = False
        looks = sums[:known] / counts[:known, None]
        owner = _owner(i, clear, owners, looks, free)
        if owner is None:
            owner, known = known, known + 1
        owners[i] = owner
        sums[owner] += track.clear_looks * track.look
        counts[owner] += track.clear_looks
    persons = [clear.take(owners == owner) for owner in range(known)]
    persons += [Stretches([track]) for track in everything.tracks if track.clear_looks < 1]
    return sorted(persons, key=lambda person: -person.weights.sum())


def _owner(i: int, clear: Stretches, owners: np.ndarray, looks: np.ndarray, free: np.ndarray) -> int | None:
    """The owner of the i-th stretch among persons with mean looks (P, K); `free` (P,): not seen during it.

    The stretch must be nearer to its owner than to anybody else, and the owner nearer to it than to anybody seen then.
    """
    track = clear.tracks[i]
    far = np.where(free, distance(track.look, looks), np.inf)
    if not free.any() or far.min() > LIKENESS:
        return None
    owner = int(far.argmin())
    during, with_owner = clear.during(track), clear.during_any(clear.take(owners == owner))
    rivals = np.concatenate(
        [np.delete(looks, owner, 0)[np.delete(free, owner)], clear.looks[with_owner & ~during & (owners != owner)]]
    )
    during[i] = False
    beside = clear.looks[during & ~with_owner]
    is_owners = nearer_by(track.look, looks[owner], rivals, DIFFERENT) >= TOLD_APART
    is_it = nearer_by(looks[owner], track.look, beside, DIFFERENT) >= TOLD_APART
    return owner if is_owners.all() and is_it.all() else None


def _main(persons: Sequence[Stretches], everything: Stretches) -> Followed:
    """The main person among persons by descending weight, with gaps filled."""
    main, *rest = persons
    cuts = scene_cuts(everything.tracks)
    here = _scenes(main, cuts)
    others = [
        person
        for person in rest
        if person.during_any(main).any()
        or (
            person.seen_s >= LEAST_S
            and (distance(person.look, main.look) > UNLIKE or here.isdisjoint(_scenes(person, cuts)))
        )
    ]
    return _filled(main, others, everything)


def _scenes(person: Stretches, cuts: Sequence[int]) -> set[int]:
    """Numbers of the scenes in which a person is seen: 0 before the first of the cuts, …"""
    ends = [np.searchsorted(cuts, [track.indices[0], track.indices[-1]], side="right") for track in person.tracks]
    return {scene for first, last in ends for scene in range(first, last + 1)}


def _filled(person: Stretches, others: Sequence[Stretches], further: Stretches) -> Followed:
    """The person's stretches, with gaps filled, by weight, by clear stretches that looks assign to nobody else."""
    theirs = {id(track) for other in others for track in other.tracks}
    looks = np.stack([other.look for other in others]) if others else np.zeros((0, len(person.look)))
    doubtful: list[FaceTrack] = []
    filled = np.zeros(max(further.last, default=0) + 1, bool)  # frames in which a doubtful stretch is followed
    gaps = further.take((further.clear_looks >= 1) & ~further.during_any(person))
    for track in gaps.tracks:
        if id(track) in theirs or filled[track.indices[0] : track.indices[-1] + 1].any():
            continue
        if not (nearer_by(track.look, looks, person.look, DIFFERENT) >= TOLD_APART).any():
            filled[track.indices[0] : track.indices[-1] + 1] = True
            doubtful.append(track)
    in_time = [sorted(some, key=lambda track: track.indices[0]) for some in (person.tracks + doubtful, doubtful)]
    return Followed(*in_time)


def _pair(persons: Sequence[Stretches]) -> tuple[Stretches, Stretches]:
    """The left and the right main person; the same person twice if there is nobody else."""
    first = persons[0]
    second = next((p for p in persons[1:] if p.during_any(first).any()), persons[min(1, len(persons) - 1)])
    return (first, second) if _further_right(second, first) >= 0 else (second, first)


def _is_on_side(track: FaceTrack, wanted: Stretches, other: Stretches, side: Side, everything: Stretches) -> bool:
    beside = [i for i in np.flatnonzero(everything.during(track)) if everything.tracks[i] is not track]
    alone = Stretches([track])
    if beside:
        return (_further_right(alone, everything.take(np.array(beside[:1]))) < 0) == (side == "left")
    to_wanted, to_other = (abs(alone.centre_x - person.centre_x) for person in (wanted, other))
    return bool(to_wanted <= to_other and distance(track.look, wanted.look) <= UNLIKE)


def _further_right(some: Stretches, others: Stretches) -> float:
    """How many pixels `some` stretches lie right of `others`: in common frames, or else on average."""
    ours, theirs = (
        {i: float(f.box[0] + f.box[2]) / 2 for t in group.tracks for i, f in zip(t.indices, t.faces, strict=True)}
        for group in (some, others)
    )
    shared = sorted(ours.keys() & theirs.keys())
    return float(np.mean([ours[i] - theirs[i] for i in shared])) if shared else some.centre_x - others.centre_x


def _ranked(tracks: Sequence[FaceTrack]) -> Stretches:
    return Stretches(sorted(tracks, key=lambda track: (-track.weight, track.indices[0])))
