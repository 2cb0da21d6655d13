"""Faces through a video: detection, association, aligned crops of the main person or of everybody.

The video is decoded twice, so that memory stays flat: once to detect faces on every n-th frame (only boxes, landmarks
and looks are kept), once to cut the crops of the persons chosen from the whole video.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avfusion.media.alignment import TEMPLATE_SIZE, align_face
from avfusion.media.association import FaceTrack, FaceTracker, SeenFace
from avfusion.media.cut_warnings import MOST, cut_times, cut_warnings, in_words
from avfusion.media.face_descriptor import CROP_SIZE, describe_face
from avfusion.media.faces import USUAL_FACE, FaceDetector
from avfusion.media.persons import Followed, Side, main_person, scene_cuts
from avfusion.media.read_ahead import read_ahead
from avfusion.media.scenes import picture_layout, scene_changed
from avfusion.media.timeline import Timeline, read_timeline
from avfusion.media.video import read_video

NOTABLE_SHARE = 0.01  # of the detections; a stray detection among hundreds is not worth a warning
LEAST_DECODED = 0.5  # share of the frames of a corpus's video that must be decodable


@dataclass(frozen=True)
class FaceCrop:
    """One person in one video frame.

    Attributes:
        rgb: (size, size, 3) uint8; None: no face, or its crop was not requested.
        box: (4,) float32: x1, y1, x2, y2 in pixels of the upright picture, as in `Face`; None: no face.
    """

    frame: int
    time_s: float
    rgb: np.ndarray | None
    confidence: float
    box: np.ndarray | None = None


@dataclass(frozen=True)
class FaceCourse:
    """One person's face in every frame of a video.

    Attributes:
        landmarks: (N, 5, 2) float32, as in `Face`.
        boxes: (N, 4) float32, as in `Face`.
        confidence: (N,) float32, 0 where there is no face; landmarks and boxes are undefined there.
    """

    landmarks: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray


def face_crops(
    path: str | os.PathLike[str],
    *,
    detect_every: int = 5,
    min_confidence: float = 0.9,
    min_face: int = USUAL_FACE,
    size: int = TEMPLATE_SIZE,
    side: Side | None = None,
    timeline: Timeline | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_cuts: Callable[[list[float]], None] | None = None,
    on_detection: Callable[[int], None] | None = None,
) -> Iterator[FaceCrop]:
    """Aligned crops of the main person, one item per video frame, also where there is no face.

    `avfusion.media.persons.main_person` chooses the stretches of detections. Within a stretch, between detections at
    most two detection steps apart, landmarks and confidence are interpolated linearly; elsewhere the frame has no face.

    Args:
        detect_every: Frames from one detection to the next.
        min_confidence: Least confidence of a detection, 0 to 1.
        min_face: Smallest face, as for `FaceDetector`.
        side: "left" or "right": follow the one of the two main persons on that side of the picture.
        on_warning: Called with warnings: cuts of the track, doubtful identities, the share of detections of other
            persons, cuts to other people, frames that cannot be decoded.
        on_cuts: Called once with the times of the cuts of the track, in seconds.
        on_detection: Called during the first pass with the number of frames scanned so far.
    """
    timeline = timeline or read_timeline(path)
    tracks = find_tracks(
        path,
        detect_every=detect_every,
        min_confidence=min_confidence,
        min_face=min_face,
        timeline=timeline,
        on_detection=on_detection,
        least_decoded=LEAST_DECODED,
    )
    person = main_person(tracks, side)
    if on_warning:
        for text in doubts([person], tracks) + (others_than(person, tracks) if side is None else []):
            on_warning(text)
    if on_cuts:
        on_cuts(cut_times(person.stretches))
    longest_gap = 2 * detect_every
    for (crop,) in cut_crops(path, [person], timeline, longest_gap=longest_gap, size=size, on_warning=on_warning):
        yield crop


def cut_crops(
    path: str | os.PathLike[str],
    persons: Sequence[Followed],
    timeline: Timeline,
    *,
    longest_gap: int,
    size: int = TEMPLATE_SIZE,
    wanted: Callable[[np.ndarray], np.ndarray] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[list[FaceCrop]]:
    """Aligned crops of several persons in one pass: one per person for every video frame, also where there is no face.

    Args:
        persons: In the order of the crops.
        longest_gap: Greatest number of frames between two detections over which faces are interpolated.
        wanted: Maps the frames in which a person has a face, (N,) bool, to the frames whose crops are needed, (N,)
            bool; other crops are not cut. Only for a video whose frames can all be decoded. Default: all.
        on_warning: Called with a warning about frames that cannot be decoded.
    """
    courses = [interpolate_faces(p.stretches, timeline.frames, longest_gap=longest_gap) for p in persons]
    faces = [course.confidence > 0 for course in courses]
    cut = [face & wanted(face) if wanted else face for face in faces]
    read = np.logical_or.reduce(cut) if cut else np.zeros(timeline.frames, bool)

    def crops(index: int, rgb: np.ndarray | None) -> list[FaceCrop]:
        """Crops of one frame; a requested frame that was not read cannot be decoded, and counts as without a face."""
        row = []
        for course, face, wants in zip(courses, faces, cut, strict=True):
            if face[index] and (rgb is not None or not wants[index]):
                row.append(_crop(index, timeline, rgb if wants[index] else None, course, size))
            else:
                row.append(FaceCrop(index + 1, float(timeline.times_s[index]), None, 0.0))
        return row

    following = 0
    for frame in read_ahead(read_video(path, timeline=timeline, wanted=lambda i: bool(read[i]), on_warning=on_warning)):
        yield from (crops(index, None) for index in range(following, frame.index0))
        yield crops(frame.index0, frame.rgb)
        following = frame.index0 + 1
    yield from (crops(index, None) for index in range(following, timeline.frames))


def doubts(persons: Sequence[Followed], tracks: Sequence[FaceTrack]) -> list[str]:
    """Warnings: when persons' tracks were cut, and where identities are doubtful; of several persons with numbers."""
    found: list[str] = []
    cuts = set(scene_cuts(tracks))
    for number, person in enumerate(persons, 1):
        who = f"person {number}" if len(persons) > 1 else ""
        found += cut_warnings(person.stretches, who)
        if _share(person.doubtful, person.stretches) >= NOTABLE_SHARE:
            times = [track.times_s[0] for track in person.doubtful]
            at_cuts = all(track.indices[0] in cuts for track in person.doubtful)
            when = _after_cuts(times) if at_cuts else f"from {in_words(times)} on"
            found.append(f"{who or 'the person followed'} may be somebody else {when}: looks do not tell")
    return found


def others_left_out(persons: Sequence[Followed], tracks: Sequence[FaceTrack]) -> list[str]:
    """A warning where a notable share of the detections is of others than the persons followed."""
    unused = _unused(persons, tracks)
    together = len(_alone(unused, persons)) < len(unused)
    return _not_used(unused, tracks, "at the same time" if together else "one after the other", len(persons))


def _not_used(unused: Sequence[FaceTrack], tracks: Sequence[FaceTrack], how: str, persons: int) -> list[str]:
    share = _share(unused, tracks)
    if not NOTABLE_SHARE <= share < 1:
        return []
    them = "the one" if persons == 1 else "those"
    return [
        f"several faces {how}: {100 * share:.0f} % of the face detections are of others than {them} followed, and not "
        "used"
    ]


def others_than(person: Followed, tracks: Sequence[FaceTrack], advice: str = "") -> list[str]:
    """Warnings where others than the one person followed are seen: beside the person, and probably after cuts.

    Args:
        advice: What to do about people after cuts.
    """
    unused = _unused([person], tracks)
    alone = _alone(unused, [person])
    cuts = set(scene_cuts(tracks))
    strangers = [track for track in alone if track.indices[0] in cuts]
    if _share(strangers, tracks) < NOTABLE_SHARE:
        return others_left_out([person], tracks)
    after_cuts = f"probably several people {_after_cuts(sorted({track.times_s[0] for track in strangers}))}"
    beside = [track for track in unused if track not in alone]
    told = _not_used(beside, tracks, "at the same time", 1)
    return [*told, f"{after_cuts}: {advice}" if advice else after_cuts]


def _after_cuts(times: Sequence[float]) -> str:
    words = ", ".join(f"{time:.1f} s" for time in times[:MOST]) + (" and later" if len(times) > MOST else "")
    return f"after the cut{'s' * (len(times) > 1)} at {words}"


def _unused(persons: Sequence[Followed], tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    theirs = {id(track) for person in persons for track in person.stretches}
    return [track for track in tracks if id(track) not in theirs]


def _alone(unused: Sequence[FaceTrack], persons: Sequence[Followed]) -> list[FaceTrack]:
    """The tracks during which none of the persons is seen."""
    seen = np.zeros(1 + max((track.indices[-1] for track in unused), default=0), bool)
    for track in (track for person in persons for track in person.stretches):
        seen[track.indices[0] : track.indices[-1] + 1] = True
    return [track for track in unused if not seen[track.indices[0] : track.indices[-1] + 1].any()]


def find_tracks(
    path: str | os.PathLike[str],
    *,
    detect_every: int,
    min_confidence: float,
    min_face: int = USUAL_FACE,
    timeline: Timeline,
    on_detection: Callable[[int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    least_decoded: float = 0.0,
) -> list[FaceTrack]:
    """Detect faces on every n-th frame and on the last, and join them to tracks.

    Args:
        least_decoded: As in `read_video`.
    """
    detector = FaceDetector(min_face, thresholds=(0.6, 0.7, min_confidence))
    tracker = FaceTracker(step=detect_every)
    last = timeline.frames - 1
    before: np.ndarray | None = None
    frames = read_video(
        path,
        timeline=timeline,
        wanted=lambda i: i % detect_every == 0 or i == last,
        on_warning=on_warning,
        least_decoded=least_decoded,
    )
    for frame in read_ahead(frames):
        faces = detector.detect(frame.rgb)
        looks = [describe_face(align_face(frame.rgb, face.landmarks, CROP_SIZE)) for face in faces]
        layout = picture_layout(frame.rgb)
        new_scene = before is not None and scene_changed(before, layout)
        seen = [SeenFace(face, look) for face, look in zip(faces, looks, strict=True)]
        tracker.update(frame.index0, frame.time_s, seen, new_scene)
        before = layout
        if on_detection:
            on_detection(frame.index0 + 1)
    return tracker.tracks


def _share(some: Sequence[FaceTrack], tracks: Sequence[FaceTrack]) -> float:
    """Share of all detections that lie in `some` of the tracks."""
    ours, every = (sum(len(track.indices) for track in several) for several in (some, tracks))
    return ours / every if every else 0.0


def interpolate_faces(stretches: Sequence[FaceTrack], frames: int, *, longest_gap: int) -> FaceCourse:
    """The face in every frame; never interpolated between stretches, since a cut may lie between."""
    course = FaceCourse(
        landmarks=np.zeros((frames, 5, 2), np.float32),
        boxes=np.zeros((frames, 4), np.float32),
        confidence=np.zeros(frames, np.float32),
    )
    for stretch in stretches:
        _interpolate(stretch, course, longest_gap)
    return course


def _interpolate(track: FaceTrack, course: FaceCourse, longest_gap: int) -> None:
    at = np.array(track.indices)
    points = np.stack([np.append(face.landmarks, face.box) for face in track.faces])
    scores = np.array([face.confidence for face in track.faces])
    every = np.arange(at[0], at[-1] + 1)
    after = np.searchsorted(at, every)
    near = (at[after] == every) | (at[after] - at[np.maximum(after - 1, 0)] <= longest_gap)
    kept = every[near]
    values = np.stack([np.interp(kept, at, points[:, k]) for k in range(14)], axis=1)
    course.landmarks[kept], course.boxes[kept] = values[:, :10].reshape(-1, 5, 2), values[:, 10:]
    course.confidence[kept] = np.interp(kept, at, scores)


def _crop(index: int, timeline: Timeline, rgb: np.ndarray | None, course: FaceCourse, size: int) -> FaceCrop:
    crop = None if rgb is None else align_face(rgb, course.landmarks[index], size)
    return FaceCrop(
        index + 1, float(timeline.times_s[index]), crop, float(course.confidence[index]), course.boxes[index]
    )
