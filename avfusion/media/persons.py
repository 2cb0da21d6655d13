"""Group the stretches of detections of a video by person, and choose the main person's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from avfusion.media.association import FaceTrack
from avfusion.media.face_descriptor import UNLIKE, distance, nearer_by, steady_look

# Squared distances of mean steady looks: those of two people are 0.14 in their 1st percentile, those of one person in
# two shots 0.35 in their 99th (`benchmarks/likeness.py`).
DIFFERENT = 0.15  # least that tells two people apart; up to it two stretches are taken for one person's
LIKENESS = 0.4  # greatest at which two stretches may be one person's, with doubt
TOLD_APART = 0.35  # least value of `nearer_by`: mean steady looks vary less than looks of single faces

LEAST_S = 1.0  # least seconds in view of a person followed beside the main person
MOST = 20  # persons followed

Side = Literal["left", "right"]


@dataclass
class Followed:
    """The stretches of a followed person, in order of time.

    Attributes:
        stretches: Tracks that do not overlap in time.
        doubtful: The stretches among them that may be somebody else's: looks do not tell.
    """

    stretches: list[FaceTrack] = field(default_factory=list)
    doubtful: list[FaceTrack] = field(default_factory=list)


class Stretches:
    """Tracks with their times and looks as arrays, for comparing the thousands of tracks of a film.

    Attributes:
        doubtful: The tracks among those of one person that may be somebody else's.
    """

    def __init__(self, tracks: Sequence[FaceTrack], doubtful: Sequence[FaceTrack] = ()) -> None:
        self.tracks = list(tracks)
        self.doubtful = list(doubtful)
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
        """Mean steady looks, (n, K)."""
        return steady_look(np.stack([track.look for track in self.tracks]))

    @cached_property
    def look(self) -> np.ndarray:
        """Mean steady look, (K,), of all that are not doubtful."""
        doubtful = {id(track) for track in self.doubtful}
        weights = [0.0 if id(track) in doubtful else track.clear_looks for track in self.tracks]
        return np.average(self.looks, axis=0, weights=weights)

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
    close, and clearly closer than to any other candidate; if they are only one of these, they are doubtful. People seen
    at the same time are different people. The main person has the greatest weight: area of the face, summed over the
    detections. Gaps are filled, by descending weight, with stretches that looks assign to nobody. Excluded are other
    people, stretches that look more like one of those, and stretches in which the face is always mixed with another.
    Other people are those seen together with the main person, and those seen for a second or longer who look unlike the
    main person (squared distance above `UNLIKE`) or are only in scenes without the main person.

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
    rest = [[track for track in person.tracks if id(track) not in taken] for person in persons[1:]]
    others = [_in_time(tracks) for tracks in rest if Stretches(tracks).seen_s >= LEAST_S][: MOST - 1]
    doubtful = {id(track) for person in persons[1:] for track in person.doubtful}
    return [main, *(Followed(other, [track for track in other if id(track) in doubtful]) for other in others)]


def scene_cuts(tracks: Sequence[FaceTrack]) -> list[int]:
    """0-based frames, ascending, in which the picture had changed as a whole and ended a track."""
    return sorted({track.end_index for track in tracks if track.end == "scene"})


def who_is_who(tracks: Sequence[FaceTrack]) -> list[Stretches]:
    """The persons, by descending weight; a stretch that looks assign to nobody becomes a person of its own."""
    everything = _ranked(tracks)
    clear = everything.take(everything.clear_looks >= 1)
    owners, sure = np.full(len(clear), -1), np.ones(len(clear), bool)
    sums, counts = np.zeros((len(clear), everything.looks.shape[1])), np.zeros(len(clear))
    cuts = scene_cuts(tracks)
    scenes = np.stack([np.searchsorted(cuts, ends, side="right") for ends in (clear.first, clear.last)])
    known = 0
    for i, track in enumerate(clear.tracks):
        free = np.ones(known, bool)
        free[owners[:i][clear.during(track)[:i]]] = False
        looks = sums[:known] / counts[:known, None]
        owner, sure[i] = _owner(i, clear, owners, looks, free, scenes) or (known, True)
        owners[i], known = owner, max(known, owner + 1)
        sums[owner] += sure[i] * track.clear_looks * clear.looks[i]
        counts[owner] += sure[i] * track.clear_looks
    persons = [
        Stretches(clear.take(owners == owner).tracks, clear.take((owners == owner) & ~sure).tracks)
        for owner in range(known)
    ]
    persons += [Stretches([track]) for track in everything.tracks if track.clear_looks < 1]
    return sorted(persons, key=lambda person: -person.weights.sum())


def _owner(
    i: int, clear: Stretches, owners: np.ndarray, looks: np.ndarray, free: np.ndarray, scenes: np.ndarray
) -> tuple[int, bool] | None:
    """The owner of the i-th stretch among persons with mean steady looks (P, K), and whether that is sure, or None.

    The stretch must be clearly nearer to its owner than to anybody seen with the owner, and the owner to it than to
    anybody seen with it. It is sure if, moreover, everybody else is clearly farther, and the two are alike or in one
    scene, into which nobody comes by a cut.

    Args:
        free: (P,) bool: not seen during the stretch.
        scenes: (2, n), the scenes in which the stretches begin and end, by number.
    """
    look = clear.looks[i]
    far = np.where(free, distance(look, looks), np.inf)
    if not free.any() or far.min() > LIKENESS:
        return None
    owner = int(far.argmin())
    during, with_owner = clear.during(clear.tracks[i]), clear.during_any(clear.take(owners == owner))
    beside_owner = clear.looks[with_owner & ~during & (owners != owner)]
    during[i] = False
    beside = clear.looks[during & ~with_owner]
    is_owners = nearer_by(look, looks[owner], beside_owner, DIFFERENT) >= TOLD_APART
    is_it = nearer_by(looks[owner], look, beside, DIFFERENT) >= TOLD_APART
    if not (is_owners.all() and is_it.all()):
        return None
    others = np.delete(looks, owner, 0)[np.delete(free, owner)]
    alone = (nearer_by(look, looks[owner], others, DIFFERENT) >= TOLD_APART).all()
    owners_scenes = scenes[:, owners == owner]
    in_one_scene = ((owners_scenes[0] <= scenes[1, i]) & (owners_scenes[1] >= scenes[0, i])).any()
    return owner, bool(alone and (far[owner] <= DIFFERENT or in_one_scene))


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
    filling: list[FaceTrack] = []
    filled = np.zeros(max(further.last, default=0) + 1, bool)  # frames of the stretches that fill gaps
    gaps = further.take((further.clear_looks >= 1) & ~further.during_any(person))
    for i, track in enumerate(gaps.tracks):
        if id(track) in theirs or filled[track.indices[0] : track.indices[-1] + 1].any():
            continue
        if not (nearer_by(gaps.looks[i], looks, person.look, DIFFERENT) >= TOLD_APART).any():
            filled[track.indices[0] : track.indices[-1] + 1] = True
            filling.append(track)
    return Followed(_in_time([*person.tracks, *filling]), _in_time([*person.doubtful, *filling]))


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
    return bool(to_wanted <= to_other and distance(alone.look, wanted.look) <= UNLIKE)


def _further_right(some: Stretches, others: Stretches) -> float:
    """How many pixels `some` stretches lie right of `others`: in common frames, or else on average."""
    ours, theirs = (
        {i: float(f.box[0] + f.box[2]) / 2 for t in group.tracks for i, f in zip(t.indices, t.faces, strict=True)}
        for group in (some, others)
    )
    shared = sorted(ours.keys() & theirs.keys())
    return float(np.mean([ours[i] - theirs[i] for i in shared])) if shared else some.centre_x - others.centre_x


def _in_time(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    return sorted(tracks, key=lambda track: track.indices[0])


def _ranked(tracks: Sequence[FaceTrack]) -> Stretches:
    return Stretches(sorted(tracks, key=lambda track: (-track.weight, track.indices[0])))
