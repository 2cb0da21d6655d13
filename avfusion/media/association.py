"""Match the faces of a frame with the people seen before, and cut tracks where identities are unclear.

A face matches a person by place (it overlaps the last box, or the box extrapolated from the person's motion) and by
look. Among several matches the assignment of least cost (negative log-likelihood, in nats) wins. It is certain only if
every other assignment costs clearly more, both with people moving on and with people standing still, and if people out
of sight nearby look clearly different. Tracks without a certain match end, and their faces begin new tracks.
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
LOST_AFTER_S = 3.0  # a face that appears there later begins a new track
SAME_AFTER_CUT = 0.1  # greatest squared distance of looks at which a face goes on after a change of the whole picture
SURE = 3.0  # nats by which any other assignment must cost more
TOLD_APART = 0.7  # least value of `nearer_by`
_LOOK_NAT = 0.1  # squared distance of looks that costs one nat
_MISSING, _NEW = 1.0, 6.0  # nats of a person without a face, and of a face of a new person
_REACH, _REACH_PER_S = 1.0, 2.0  # how far a person out of sight may have moved, in sides of the face
_HIDDEN_REACH = 2.0  # the same for a person whom the visible faces would have to hide
_MIXED = 0.1  # covered share of a face's box from which its look is mixed with another face's
_MIXED_WEIGHT = 0.1  # weight of mixed looks in the mean
_SAME_FACE = 0.5  # covered share from which a box without a track begins no track yet
_LATEST = 0.25  # weight of the latest look in the recent one

End = Literal["", "unclear", "scene", "replaced"]


@dataclass(frozen=True)
class SeenFace:
    """A detection and its look (`avfusion.media.face_descriptor.describe_face`)."""

    face: Face
    look: np.ndarray


@dataclass(eq=False)
class FaceTrack:
    """Consecutive detections of one person, without a long absence.

    Attributes:
        indices: 0-based frames of the detections, ascending.
        recent_look: Mean look that weighs recent detections most.
        clear_looks: Number of looks in the mean; looks mixed with another face count little.
        end: Why the track ended: unclear identities, a new scene, or replaced by a track that may show the same person;
            empty: the person was not seen again.
        end_index, end_s: 0-based frame in which that was seen, and its time.
    """

    indices: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    look: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    recent_look: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    clear_looks: float = 0.0
    end: End = ""
    end_index: int = -1
    end_s: float = 0.0

    def add(self, index: int, time_s: float, seen: SeenFace, mixed: bool = False) -> None:
        """Append a later detection; `mixed`: its look may include another face."""
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

    def close(self, end: End, index: int, time_s: float) -> None:
        """End the track unless it has ended."""
        if not self.end:
            self.end, self.end_index, self.end_s = end, index, time_s

    @property
    def weight(self) -> float:
        """Mean area of the face times the number of detections; high for large faces seen for long."""
        return float(areas(np.stack([face.box for face in self.faces])).sum())


class FaceTracker:
    """Follows everybody in a video; `tracks` holds all tracks so far in the order in which they began."""

    def __init__(self, step: int) -> None:
        """Begin a video whose every `step`-th frame is looked at."""
        self.step = step
        self.tracks: list[FaceTrack] = []
        # Open tracks, and ended ones: of two people in one place, only one may have begun another track since.
        self._around: list[FaceTrack] = []

    def update(self, index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool = False) -> None:
        """Add the faces of a later frame; a track enters a new scene only if a face matches in look and place."""
        around = [track for track in self._around if time_s - track.times_s[-1] <= LOST_AFTER_S]
        joined = self._join(around, index, time_s, seen, new_scene) if around and seen else {}
        missing = [track for t, track in enumerate(around) if t not in joined]
        if new_scene:
            for track in missing:
                track.close("scene", index, time_s)
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
                same.close("replaced", index, time_s)
                missing = [other for other in missing if other is not same]
            began.append(track)
        self.tracks += began
        self._around = [around[t] for t in joined] + missing + began

    def _join(
        self, around: list[FaceTrack], index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool
    ) -> dict[int, int]:
        """Map positions of tracks to positions of faces with a certain match; tracks with an unclear match end."""
        joined, unclear = sure_pairs(
            self._costs(around, index, time_s, seen, new_scene), sure=SURE, missing=_MISSING, new=_NEW
        )
        for o in set(range(len(around))) - joined.keys():
            reach = _in_reach(around[o], time_s, seen, _HIDDEN_REACH)
            for t, d in joined.items():
                if reach[d] and not _tells(seen[d].look, around[t], around[o]):
                    unclear |= {t, o}
        for t in unclear:
            around[t].close("unclear", index, time_s)
        return {t: d for t, d in joined.items() if t not in unclear}

    def _costs(
        self, around: list[FaceTrack], index: int, time_s: float, seen: Sequence[SeenFace], new_scene: bool
    ) -> np.ndarray:
        """Costs of each pair of track and face, (2, T, D) nats: for people moving on, and standing still."""
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
                alike = looks[t] <= SAME_AFTER_CUT
                possible = near & alike & [all(_tells(s.look, track, other) for other in rivals) for s in seen]
            elif gap <= self.step:
                possible = near | (nearby & alike)
            else:
                possible = nearby & (alike | (gap <= 2 * self.step))
            nats = misplacement(boxes, places, time_s - track.times_s[-1])
            costs[:, t] = np.where(possible, nats, IMPOSSIBLE)
        return _with_looks(costs, looks, around)


def _with_looks(costs: np.ndarray, looks: np.ndarray, around: Sequence[FaceTrack]) -> np.ndarray:
    """Add the costs of looks where several tracks or faces compete."""
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
    """Connected groups of tracks and faces, linked by possible pairs."""
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
    """Expected boxes of the track's person, (2, 4): moving on, and standing still."""
    recent = slice(-16, None)
    return expected_boxes(track.times_s[recent], np.stack([face.box for face in track.faces[recent]]), time_s)


def _in_reach(track: FaceTrack, time_s: float, seen: Sequence[SeenFace], most: float = np.inf) -> np.ndarray:
    """Whether the track's person, out of sight since, may have moved to each face, (D,) bool."""
    boxes = np.stack([s.face.box for s in seen])
    off = sides_off(boxes, _places(track, time_s)).min(axis=0)
    return off <= min(_REACH + _REACH_PER_S * (time_s - track.times_s[-1]), most)


def _tells(look: np.ndarray, track: FaceTrack, other: FaceTrack) -> bool:
    return bool(nearer_by(look, track.recent_look, other.recent_look) >= TOLD_APART)


def _mixed(seen: Sequence[SeenFace], hidden: Sequence[np.ndarray]) -> list[bool]:
    """For each face, whether another face, or the last place of a person just seen, covers a part of it."""
    boxes = [s.face.box for s in seen]
    return [_covered(box, [*boxes[:d], *boxes[d + 1 :], *hidden]) > _MIXED for d, box in enumerate(boxes)]


def _new_faces(seen: Sequence[SeenFace], joined: set[int]) -> list[int]:
    """Faces without a track, except those mostly covered by another face: doubles, or mixed looks."""
    kept = sorted(joined)
    new = []
    for d in range(len(seen)):
        if d not in joined and _covered(seen[d].face.box, [seen[k].face.box for k in kept]) <= _SAME_FACE:
            new.append(d)
            kept.append(d)
    return new


def _covered(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    return float(overlaps(box, np.stack(others), over="smaller").max()) if others else 0.0
