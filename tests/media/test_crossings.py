"""Two people whose ways cross, in rendered H.264 files: no track ever goes over from one to the other."""

from pathlib import Path

import numpy as np
import pytest

from avfusion.media.association import FaceTrack
from avfusion.media.face_tracks import face_crops, find_tracks
from avfusion.media.persons import main_person
from avfusion.media.timeline import read_timeline
from tests.media.crossings import APART, CROSSINGS, THREE, Crossing, Truth, render

STEP = 5


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Truth]]:
    """Every crossing by name: its video and the truth."""
    folder = tmp_path_factory.mktemp("crossings")
    paths = {crossing.name: folder / f"{crossing.seed}.mp4" for crossing in (*CROSSINGS, APART, THREE)}
    return {
        crossing.name: (paths[crossing.name], render(crossing, paths[crossing.name]))
        for crossing in (*CROSSINGS, APART, THREE)
    }


@pytest.fixture(scope="module")
def tracks_of(rendered: dict[str, tuple[Path, Truth]]) -> dict[str, list[FaceTrack]]:
    """The tracks of every crossing, detected on every fifth frame."""
    return {name: _tracks(path, STEP) for name, (path, _) in rendered.items()}


def _tracks(path: Path, step: int) -> list[FaceTrack]:
    return find_tracks(path, detect_every=step, min_confidence=0.9, timeline=read_timeline(path))


def _detections(tracks: list[FaceTrack]) -> int:
    return sum(len(track.indices) for track in tracks)


def _long(tracks: list[FaceTrack]) -> float:
    """Share of the detections in tracks of a second or more."""
    return _detections([t for t in tracks if t.times_s[-1] - t.times_s[0] >= 1]) / _detections(tracks)


@pytest.mark.parametrize("crossing", [*CROSSINGS, THREE], ids=lambda crossing: crossing.name)
def test_every_track_keeps_its_person(crossing: Crossing, rendered, tracks_of):
    truth = rendered[crossing.name][1]
    seen = [truth.persons(track) for track in tracks_of[crossing.name]]
    assert max(map(len, seen)) == 1
    assert set().union(*seen) == set(range(len(crossing.ways)))


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 10])
@pytest.mark.parametrize("crossing", [*CROSSINGS, THREE], ids=lambda crossing: crossing.name)
def test_every_track_keeps_its_person_at_other_steps(crossing: Crossing, step: int, rendered):
    path, truth = rendered[crossing.name]
    assert max(len(truth.persons(track)) for track in _tracks(path, step)) == 1


def test_tracks_are_of_use(tracks_of):
    crossed = [tracks_of[crossing.name] for crossing in CROSSINGS]
    assert np.median([len(tracks) for tracks in crossed]) <= 5
    assert np.mean([_long(tracks) for tracks in crossed]) > 0.88
    assert min(_long(tracks) for tracks in crossed) > 0.6
    assert len(tracks_of[APART.name]) == 2
    assert _long(tracks_of[APART.name]) == 1


def test_the_main_person_is_one_person_or_it_is_said_to_be_in_doubt(rendered, tracks_of):
    doubted = 0
    for crossing in CROSSINGS:
        truth, followed = rendered[crossing.name][1], main_person(tracks_of[crossing.name])
        people = set().union(*(truth.persons(track) for track in followed.stretches))
        if crossing.alike:
            assert len(people) == 1 or followed.doubtful
            doubted += bool(followed.doubtful)
        else:
            assert len(people) == 1
            assert not followed.doubtful
            theirs = [track for track in tracks_of[crossing.name] if truth.persons(track) == people]
            assert _detections(followed.stretches) > 0.8 * _detections(theirs)
    assert doubted > 0


def test_both_sides_are_one_person_each_through_a_crossing(rendered, tracks_of):
    for name in ("meet", "meet, other depth", "meet fast", "stop in the middle", "overtake"):
        truth = rendered[name][1]
        sides = [main_person(tracks_of[name], side).stretches for side in ("left", "right")]
        people = [set().union(*(truth.persons(track) for track in stretches)) for stretches in sides]
        assert sorted(map(sorted, people)) == [[0], [1]], name


def test_cuts_are_told(rendered):
    warnings: list[str] = []
    for _ in face_crops(rendered["stop in the middle, alike"][0], on_warning=warnings.append):
        pass
    cuts = [text for text in warnings if text.startswith("track cut ")]
    assert len(cuts) == 1
    assert "unclear who is who" in cuts[0]
    assert any(text.startswith("the person followed may be somebody else from ") for text in warnings)
