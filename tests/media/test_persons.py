import numpy as np
import pytest

from avfusion.media.association import FaceTrack
from avfusion.media.face_descriptor import steady_look
from avfusion.media.faces import Face
from avfusion.media.persons import MOST, everybody, main_person, who_is_who

ANNA, BEN = np.array([0.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32)
LIKE_ANNA, LIKE_BEN = ANNA + 0.1, BEN - 0.1
BETWEEN = np.array([0.5, 0.0], np.float32)
CARL = np.array([0.0, 1.5], np.float32)
SCALE = np.linalg.norm(steady_look(np.concatenate([np.zeros(192), np.tile([1.0, 0.0], 16)])))


def _look(place):
    """A look (224,) of one chroma, as far from others' as places (2,) are, when seen as a steady look."""
    return np.concatenate([np.zeros(192), np.tile(place, 16)]).astype(np.float32) / SCALE


def _track(start, stop, x=0.0, side=100.0, look=ANNA, clear_looks=None):
    look = _look(look)
    face = Face(np.array([x, 0, x + side, side], np.float32), 1.0, np.zeros((5, 2), np.float32))
    indices = list(range(start, stop))
    looks = len(indices) if clear_looks is None else clear_looks
    return FaceTrack(indices, [i / 25 for i in indices], [face] * len(indices), look, look, looks)


def _followed(tracks, side=None):
    followed = main_person(tracks, side)
    return followed.stretches, followed.doubtful


def test_main_person_is_large_and_persistent():
    brief_large, long_small = _track(0, 1, side=150, look=BEN), _track(0, 4, x=300)
    assert _followed([brief_large, long_small]) == ([long_small], [])
    assert _followed([brief_large, long_small], "left") == ([brief_large], [])
    assert _followed([brief_large, long_small], "right") == ([long_small], [])
    assert _followed([]) == _followed([], "left") == ([], [])


def test_weight_is_a_persons_not_a_stretchs():
    ben = _track(0, 30, x=300, look=BEN)
    anna = [_track(0, 14), _track(16, 31, look=LIKE_ANNA), _track(33, 40, x=200)]
    assert _followed([ben, *anna]) == (anna, [])


def test_a_person_is_followed_through_a_crossing_by_looks():
    before = [_track(0, 20), _track(0, 20, x=300, look=BEN)]
    after = [_track(25, 50, look=LIKE_BEN), _track(25, 50, x=300, look=LIKE_ANNA)]
    for large, seen_again in ((_track(0, 20, side=150), after[1]), (_track(0, 20, side=150, look=BEN), after[0])):
        other = before[0] if seen_again is after[0] else before[1]
        assert _followed([large, other, *after]) == ([large, seen_again], [])


def test_two_alike_are_not_told_apart_and_the_heavier_is_followed_with_doubt():
    before = [_track(0, 20), _track(0, 20, x=300, look=ANNA + 0.05)]
    after = [_track(25, 50, look=ANNA + 0.05), _track(25, 49, x=300)]
    assert _followed([*before, *after]) == ([before[0], after[0]], [before[0]])


def test_whoever_is_seen_is_followed_while_the_main_person_is_not():
    anna, stranger = _track(0, 20), _track(25, 30, look=CARL)
    assert _followed([stranger, anna]) == ([anna, stranger], [stranger])


def test_but_not_somebody_known_from_being_seen_together():
    anna, ben, ben_alone = _track(0, 20), _track(10, 20, x=300, look=BEN), _track(25, 30, look=LIKE_BEN)
    assert _followed([anna, ben, ben_alone]) == ([anna], [])
    perhaps_ben = _track(25, 30, look=np.array([0.65, 0.5], np.float32))
    assert _followed([anna, ben, perhaps_ben]) == ([anna, perhaps_ben], [perhaps_ben])


def test_moments_of_mixed_faces_are_nobodys():
    anna, mixed = _track(0, 20), _track(21, 24, look=BETWEEN, clear_looks=0.3)
    assert _followed([anna, mixed]) == ([anna], [])
    assert _followed([mixed]) == ([mixed], []), "there is nobody else"


def test_stretches_do_not_overlap():
    heaviest, before, across, behind = _track(10, 20), _track(0, 9), _track(5, 12, side=90), _track(20, 22, x=300)
    assert _followed([behind, across, before, heaviest])[0] == [before, heaviest, behind]
    touching = _track(19, 24, side=90)
    assert _followed([touching, heaviest])[0] == [heaviest], "the same moment, though only one"


def test_a_third_stretch_that_is_as_like_hinders_a_join():
    """Anna alone, then two people of whom either may be Anna."""
    anna, one, other = _track(0, 10), _track(15, 40, look=ANNA + 0.1), _track(15, 40, x=300, look=ANNA - 0.15)
    assert len(who_is_who([anna, one, other])) == 3
    clearly = _track(15, 40, x=300, look=BEN)
    assert {len(person.tracks) for person in who_is_who([anna, one, clearly])} == {1, 2}


@pytest.fixture
def pair():
    """Anna on the left and Ben on the right, with more of Ben."""
    return [_track(0, 20), _track(0, 25, x=300, look=BEN)]


def test_sides_are_followed_by_looks_even_when_people_change_places(pair):
    anna, ben = _track(30, 40, x=300, look=LIKE_ANNA), _track(30, 40, look=LIKE_BEN)
    assert _followed([*pair, anna, ben], "left") == ([pair[0], anna], [])
    assert _followed([*pair, anna, ben], "right") == ([pair[1], ben], [])


def test_what_looks_do_not_say_the_side_decides(pair):
    one, other = _track(30, 40, x=200, look=BETWEEN), _track(30, 41, x=280, look=BETWEEN)
    assert _followed([*pair, one, other], "left") == ([pair[0], one], [one])
    assert _followed([*pair, one, other], "right") == ([pair[1], other], [other])
    alone = _track(30, 40, x=120, look=BETWEEN)
    assert _followed([*pair, alone], "left")[0] == [pair[0], alone], "nearer to where Anna is"
    assert _followed([*pair, alone], "right")[0] == [pair[1]]


def test_a_third_person_is_on_no_side(pair):
    carl = _track(30, 40, look=CARL)
    assert _followed([*pair, carl], "left") == ([pair[0]], [])
    assert _followed([*pair, carl], "right") == ([pair[1]], [])
    beside_ben = _track(40, 50, x=300, look=LIKE_BEN), _track(40, 50, x=20, look=CARL)
    assert _followed([*pair, *beside_ben], "left") == ([pair[0], beside_ben[1]], [beside_ben[1]]), (
        "but beside the other"
    )
    small = _track(0, 25, x=600, side=50, look=CARL)
    assert _followed([*pair, small], "right") == ([pair[1]], [])


def test_the_pair_is_who_is_seen_together():
    anna, ben, carl = _track(0, 20), _track(10, 15, x=300, look=BEN), _track(30, 50, x=500, side=90, look=CARL)
    assert _followed([anna, ben, carl], "left") == ([anna], [])
    assert _followed([anna, ben, carl], "right") == ([ben], [])
    assert _followed([anna, carl], "right") == ([carl], []), "never together: the two heaviest"


def test_somebody_who_is_alone_is_on_both_sides():
    anna = [_track(0, 20), _track(30, 40)]
    assert _followed(anna, "left") == _followed(anna, "right") == (anna, [])


def test_everybody_who_is_seen_long_enough_each_with_their_own_stretches():
    anna, ben = [_track(0, 40), _track(60, 90)], [_track(0, 30, x=300, look=BEN), _track(95, 130, x=300, look=BEN)]
    passing = _track(10, 30, x=600, look=CARL)
    followed = everybody([*anna, *ben, passing])
    assert [person.stretches for person in followed] == [anna, ben], "Carl is seen for less than a second"
    assert everybody([])[0].stretches == []
    crowd = [_track(0, 40, x=300 * i, look=np.array([i, 3.0], np.float32)) for i in range(MOST + 5)]
    assert len(everybody(crowd)) == MOST
    later = [_track(40 * i, 40 * i + 30, side=200 - i, look=np.array([i, 3.0], np.float32)) for i in range(MOST + 5)]
    followed = everybody(later)
    assert [person.stretches for person in followed] == [[track] for track in later[:MOST]]


def _cut(*tracks, at):
    """The tracks, ended by a change of the whole picture at this frame."""
    for track in tracks:
        track.close("scene", at, at / 25)
    return list(tracks)


def test_a_gap_of_the_main_person_is_not_filled_with_somebody_else():
    anna, unlike = _track(0, 60), _track(65, 100, x=300, look=BEN)
    assert main_person([anna, unlike]).stretches == [anna]
    perhaps = _track(65, 100, x=300, look=np.array([0.72, 0.0], np.float32))
    assert _followed([anna, perhaps]) == ([anna, perhaps], [perhaps]), "as in the same scene"
    assert _followed([*_cut(anna, at=65), perhaps]) == ([anna], []), "in another scene"
    back = _track(105, 120, look=LIKE_ANNA)
    assert _followed([anna, *_cut(perhaps, at=105), back]) == ([anna, back], []), "in another scene, between two"
    moment = _track(65, 80, x=300, look=CARL)
    assert _followed([anna, moment]) == ([anna, moment], [moment]), "for a moment, whoever is seen"


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("look", [LIKE_ANNA, np.array([0.72, 0.0], np.float32), BEN])
def test_the_main_person_is_the_same_with_and_without_the_others(look, cut):
    anna, other, back = _track(0, 60), _track(65, 100, x=300, look=look), _track(102, 110)
    carl = [_track(0, 40, x=600, side=50, look=CARL), _track(120, 160, x=600, side=50, look=CARL)]
    tracks = [*(_cut(anna, other, at=65) if cut else [anna, other]), back, *carl, _track(112, 118, look=BETWEEN)]
    main, *others = everybody(tracks)
    assert main == main_person(tracks)
    assert carl in [person.stretches for person in others]
    taken = [id(track) for person in (main, *others) for track in person.stretches]
    assert len(taken) == len(set(taken)), "nobody's stretch is another's, too"
    assert id(other) in taken


def _who(tracks):
    return [(person.tracks, person.doubtful) for person in who_is_who(tracks)]


def test_after_a_cut_a_stretch_between_alike_and_different_is_joined_with_doubt():
    anna, like_anna, perhaps = _track(0, 60), _track(65, 100, look=LIKE_ANNA), _track(105, 135, look=BETWEEN)
    assert _who([anna, like_anna, perhaps]) == [([anna, like_anna, perhaps], [])], "in one scene"
    _cut(anna, at=65)
    assert _who([anna, like_anna]) == [([anna, like_anna], [])]
    _cut(like_anna, at=105)
    assert _who([anna, like_anna, perhaps]) == [([anna, like_anna, perhaps], [perhaps])]
    assert _followed([anna, perhaps]) == ([anna, perhaps], [perhaps])
    assert [(f.stretches, f.doubtful) for f in everybody([anna, perhaps])] == [([anna, perhaps], [perhaps])]
    unlike_anna = _track(140, 165, look=np.array([0.75, 0.0], np.float32))
    assert _who([anna, perhaps, unlike_anna]) == [([anna, perhaps], [perhaps]), ([unlike_anna], [])], (
        "what is doubtful does not lead on to others"
    )


def test_a_stretch_that_two_known_people_are_about_as_like_is_joined_with_doubt():
    anna, dora = _track(0, 60), _track(65, 105, look=np.array([0.7, 0.0], np.float32))
    either = _track(110, 130, look=np.array([0.33, 0.0], np.float32))
    assert _who([anna, dora, either]) == [([anna, either], [either]), ([dora], [])]
    second = everybody([_track(0, 60, side=200, look=CARL), anna, dora, either])[1]
    assert (second.stretches, second.doubtful) == ([anna, either], [either])
