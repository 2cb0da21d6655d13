"""People after cuts: one person in several lights is one, and two who look alike are not silently one."""

from pathlib import Path

import pytest

from avfusion.media.association import FaceTrack
from avfusion.media.face_tracks import doubts, find_tracks
from avfusion.media.persons import everybody, main_person
from avfusion.media.timeline import read_timeline
from tests.media.shots import Shot, drawn, render_shots

SIZE = (256, 256)


def tracks_of(path: Path) -> list[FaceTrack]:
    return find_tracks(path, detect_every=5, min_confidence=0.9, timeline=read_timeline(path))


def shot(person: int, brightness: float = 1.0, scale: float = 0.7) -> Shot:
    return Shot(30, ((person, 0.5, 0.44),), scale, room=round(10 * brightness) + person, brightness=brightness)


@pytest.mark.parametrize("person", [2, 6])
def test_one_person_over_three_cuts_is_one_in_every_light(person: int, tmp_path: Path) -> None:
    shots = [shot(person), shot(person, 0.6, 0.5), shot(person, 1.2), shot(person, 0.8)]
    render_shots(tmp_path / "one.mp4", shots, drawn(person + 1), size=SIZE, sound=False)
    tracks = tracks_of(tmp_path / "one.mp4")
    assert [track.indices[0] for track in tracks] == [0, 30, 60, 90]
    assert [followed.stretches for followed in everybody(tracks)] == [tracks]
    assert main_person(tracks).stretches == tracks


@pytest.mark.parametrize("pair", [(2, 13), (1, 5)])
def test_two_alike_are_not_silently_one(pair: tuple[int, int], tmp_path: Path) -> None:
    one, other = pair
    shots = [shot(one), shot(other, scale=0.6)]
    render_shots(tmp_path / "two.mp4", shots, drawn(max(pair) + 1), size=SIZE, sound=False)
    tracks = tracks_of(tmp_path / "two.mp4")
    (followed,) = everybody(tracks)
    assert followed.stretches == tracks
    assert doubts([followed], tracks)[1:] == [
        "the person followed may be somebody else after the cut at 1.2 s: looks do not tell"
    ]
