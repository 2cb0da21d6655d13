"""Joining the faces of a frame to the people seen before, and cutting tracks where it is unclear who is who.

A face may be a person's by its place (it overlaps where the person was, or would be having moved on) and by its look.
Of several, the assignment of least cost is taken, in nats of what speaks against it; it is sure only where every other
one costs clearly more, both if people go on as they moved and if they stopped. Besides, whoever is out of sight near
there must look clearly different. Tracks of which this cannot be said end, and the faces begin new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from avfusion.media.assignment import IMPOSSIBLE, sure_pairs
from avfusion.media.boxes import areas, doubled, overlaps
from avfusion.media.face_descriptor import DIFFERENT, SAME, UNLIKE, distance, nearer_by
from avfusion.media.face_motion import expected_boxes, misplacement, sides_off
from avfusion.media.faces import Face

SAME_PLACE = 0.3  # intersection over union of a face's box with an expected one
LOST_AFTER_S = 3.0  # whoever appears there later begins a track
SURE = 3.0  # nats that any other assignment has to cost more
TOLD_APART = 0.7  # of `nearer_by`
_LOOK_NAT = 0.1  # squared distance of looks that makes a nat
_MISSING, _NEW = 1.0, 6.0  # nats of a person not seen, and of a face that is of nobody seen before
_REACH, _REACH_PER_S = 1.0, 2.0  # how far somebody out of sight may have got, in sides of the face
_HIDDEN_REACH = 2.0  # the same, of somebody whom the faces seen there would have to hide
_MIXED = 0.1  # share of a face's box, covered by another one, from which on its look is not its own
_MIXED_WEIGHT = 0.1  # of such looks in the mean
_SAME_FACE = 0.5  # covered share from which on a box without a track is no further person's yet
_LATEST = 0.25  # weight of the latest look in the recent one

End = Literal["", "unclear", "scene", "replaced"]


@dataclass(frozen=True)
class SeenFace:
    """A detection and its look (`avfusion.media.face_descriptor.describe_face`)."""

    face: Face
    look: np.ndarray


@dataclass(eq=False)
class FaceTrack:
    """One person's detections without a long absence.

    Attributes:
        indices: 0-based frames of the detections, ascending.
        times_s: Their times.
        faces: The faces there.
        look: Mean look.
        recent_look: The same, the latest counting most.
        clear_looks: Number of looks in it, those mixed with another face counting little.
        end: Why it ended: unclear who is who, a new scene, replaced by a track that may be of the same person; empty:
            the person was not seen again.
        end_s: When.
    """

    indices: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    look: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    recent_look: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    clear_looks: float = 0.0
    end: End = ""
    end_s: float = 0.0

    def add(self, index: int, time_s: float, seen: SeenFace, mixed: bool = False) -> None:
        """Append a later detection; `mixed`: its look may be partly another face's."""
        weight = _MIXED_WEIGHT if mixed else 1.0
        share = weight / (self.clear_looks + weight)
        if not self.indices:
            self.look = self.recent_look = seen.look
        self.look = self.look + share * (seen.look - self.look)
        self.recent_look = self.recent_look + max(share, _LATEST * weight) * (seen.look - self.recent_look)
        self.clear_looks += weight
        self.indices.append(index)
        self.times_s.append(time_s)
        self.faces.append(seen.face)

    def close(self, end: End, time_s: float) -> None:
        """Let the track end, if it has not."""
        if not self.end:
            self.end, self.end_s = end, time_s

    @property
    def weight(self) -> float:
        """Mean area of the face times the number of detections: large and long seen."""
        return float(areas(np.stack([face.box for face in self.faces])).sum())

    def overlaps(self, other: "FaceTrack") -> bool:
        """Whether the two stretches, from first to last detection, have a moment in common."""
        return self.indices[0] <= other.indices[-1] and other.indices[0] <= self.indices[-1]


class FaceTracker:
    """Follows everybody in a video; `tracks` holds all tracks so far in the order in which they began."""

    def __init__(self, step: int) -> None:
        """Begin a video whose every `step`-th frame is looked at."""
        self.step = step
        self.tracks: list[FaceTrack] = []
        # Tracks that may go on, and ended ones: of two people in one place only one may have begun another track since.
        self._around: list[FaceTrack] = []

    def update(self, index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool = False) -> None:
        """Add the faces of a later frame; into a new scene only those tracks go on that a face looks and lies like."""
        around = [track for track in self._around if time_s - track.times_s[-1] <= LOST_AFTER_S]
        joined = self._join(around, index, time_s, seen, new_scene) if around and seen else {}
        missing = [track for t, track in enumerate(around) if t not in joined]
        if new_scene:
            for track in missing:
                track.close("scene", time_s)
            missing = []
        mixed = _mixed(seen, [track.faces[-1].box for track in missing if index - track.indices[-1] <= self.step])
        for t, d in joined.items():
            around[t].add(index, time_s, seen[d], mixed[d])
        began = []
        for d in _new_faces(seen, set(joined.values())):
            track = FaceTrack()
            track.add(index, time_s, seen[d], mixed[d])
            if known := [other for other in missing if _in_reach(other, time_s, seen[d : d + 1])[0]]:
                same = min(known, key=lambda other: (-other.indices[-1], distance(other.recent_look, seen[d].look)))
                same.close("replaced", time_s)
                missing = [other for other in missing if other is not same]
            began.append(track)
        self.tracks += began
        self._around = [around[t] for t in joined] + missing + began

    def _join(
        self, around: list[FaceTrack], index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool
    ) -> dict[int, int]:
        """Positions of tracks and of the faces that are surely theirs; the tracks of which it is unclear end."""
        joined, unclear = sure_pairs(
            self._costs(around, index, time_s, seen, new_scene), sure=SURE, missing=_MISSING, new=_NEW
        )
        for o in set(range(len(around))) - joined.keys():
            reach = _in_reach(around[o], time_s, seen, _HIDDEN_REACH)
            for t, d in joined.items():
                if reach[d] and not _tells(seen[d].look, around[t], around[o]):
                    unclear |= {t, o}
        for t in unclear:
            around[t].close("unclear", time_s)
        return {t: d for t, d in joined.items() if t not in unclear}

    def _costs(
        self, around: list[FaceTrack], index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool
    ) -> np.ndarray:
        """What speaks against each pair of track and face, (2, T, D) nats: if people go on, and if they stopped."""
        shape = len(around), len(seen)
        looks = np.array([[distance(track.recent_look, s.look) for s in seen] for track in around])
        boxes = np.stack([s.face.box for s in seen])
        costs = np.full((2, *shape), IMPOSSIBLE)
        for t, track in enumerate(around):
            if track.end:
                continue
            places = _places(track, time_s)
            near = _overlap(places, boxes) >= SAME_PLACE
            nearby = _overlap(doubled(places), doubled(boxes)) >= SAME_PLACE
            alike = looks[t] <= SAME
            gap = index - track.indices[-1]
            if new_scene:
                rivals = [other for other in around if other is not track]
                possible = near & alike & [all(_tells(s.look, track, other) for other in rivals) for s in seen]
            elif gap <= self.step:
                possible = near | (nearby & alike)
            else:
                possible = nearby & (alike | (gap <= 2 * self.step))
            nats = misplacement(boxes, places, time_s - track.times_s[-1])
            costs[:, t] = np.where(possible, nats, IMPOSSIBLE)
        return _with_looks(costs, looks, around)


def _with_looks(costs: np.ndarray, looks: np.ndarray, around: Sequence[FaceTrack]) -> np.ndarray:
    """Costs with what looks add, where several tracks or faces are to be told apart."""
    possible = costs[0] < IMPOSSIBLE
    rivals = (possible.sum(axis=0) > 1)[None] | (possible.sum(axis=1) > 1)[:, None]
    costs = np.where(possible & rivals & (looks > UNLIKE), IMPOSSIBLE, costs)
    for tracks, faces in _groups(possible):
        known = all(around[t].clear_looks >= 1 for t in tracks)
        pairs = [(around[a], around[b]) for a in tracks for b in tracks if a < b]
        if known and all(distance(a.recent_look, b.recent_look) >= DIFFERENT for a, b in pairs):
            costs[:, np.array(tracks)[:, None], faces] += looks[np.ix_(tracks, faces)] / _LOOK_NAT
    return np.where(possible & ~rivals, 0.0, costs)


def _groups(possible: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Tracks and faces that hang together by possible pairs."""
    groups: list[tuple[list[int], list[int]]] = []
    left = set(range(len(possible)))
    while left:
        tracks = {left.pop()}
        faces: set[int] = set()
        while True:
            more = set(np.flatnonzero(possible[list(tracks)].any(axis=0)).tolist())
            if more == faces:
                break
            faces = more
            tracks |= set(np.flatnonzero(possible[:, list(faces)].any(axis=1)).tolist())
        left -= tracks
        groups.append((sorted(tracks), sorted(faces)))
    return groups


def _overlap(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Greatest overlap of each box with one of several places, (D,)."""
    return np.maximum.reduce([overlaps(place, boxes) for place in places])


def _places(track: FaceTrack, time_s: float) -> np.ndarray:
    """Where the track's person is expected, (2, 4): having gone on, and having stopped."""
    recent = slice(-16, None)
    return expected_boxes(track.times_s[recent], np.stack([face.box for face in track.faces[recent]]), time_s)


def _in_reach(track: FaceTrack, time_s: float, seen: Sequence[SeenFace], most: float = np.inf) -> np.ndarray:
    """Whether each face could be where the track's person, out of sight since, has got to; (D,) bool."""
    boxes = np.stack([s.face.box for s in seen])
    off = sides_off(boxes, _places(track, time_s)).min(axis=0)
    return off <= min(_REACH + _REACH_PER_S * (time_s - track.times_s[-1]), most)


def _tells(look: np.ndarray, track: FaceTrack, other: FaceTrack) -> bool:
    return nearer_by(look, track.recent_look, other.recent_look) >= TOLD_APART


def _mixed(seen: Sequence[SeenFace], hidden: Sequence[np.ndarray]) -> list[bool]:
    """Of each face, whether another one, or where somebody was just before, covers a part of it."""
    boxes = [s.face.box for s in seen]
    return [_covered(box, [*boxes[:d], *boxes[d + 1 :], *hidden]) > _MIXED for d, box in enumerate(boxes)]


def _new_faces(seen: Sequence[SeenFace], joined: set[int]) -> list[int]:
    """Faces of no track, without those that share most of their place with another one: the same face, or mixed."""
    kept = sorted(joined)
    new = []
    for d in range(len(seen)):
        if d not in joined and _covered(seen[d].face.box, [seen[k].face.box for k in kept]) <= _SAME_FACE:
            new.append(d)
            kept.append(d)
    return new


def _covered(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    return float(overlaps(box, np.stack(others), over="smaller").max()) if others else 0.0
