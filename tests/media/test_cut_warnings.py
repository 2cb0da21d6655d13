from avfusion.media.association import FaceTrack
from avfusion.media.cut_warnings import cut_times, cut_warnings


def _track(start_s, end="", end_s=0.0):
    return FaceTrack(
        indices=[round(25 * start_s)], times_s=[start_s], end=end, end_index=round(25 * end_s), end_s=end_s
    )


def test_cuts_are_told_by_reason_and_whose_track_it_is():
    tracks = [_track(0.0, "unclear", 3.24), _track(4.0, "scene", 6.0), _track(6.0, "unclear", 9.5), _track(10.0)]
    warnings = cut_warnings(tracks)
    assert warnings == [
        "track cut 2 times (unclear who is who), at 3.2, 9.5 s",
        "track cut once (the picture changes as a whole), at 6.0 s",
    ]
    assert cut_warnings(tracks, "person 2")[1] == (
        "track of person 2 cut once (the picture changes as a whole), at 6.0 s"
    )
    assert cut_times(tracks) == [3.24, 6.0, 9.5]


def test_what_is_no_cut():
    replaced, alone, into_nothing = _track(0.0, "replaced", 2.0), _track(3.0), _track(5.0, "scene", 7.0)
    assert cut_warnings([replaced, alone, into_nothing]) == [], "after the last one nobody is followed at once"
    assert cut_times([replaced, alone, into_nothing]) == cut_times([]) == []


def test_cuts_in_quick_succession_are_one_and_many_are_not_all_named():
    quick = [_track(0.0, "unclear", time) for time in (3.0, 3.4, 3.9)]
    assert cut_warnings(quick) == ["track cut once (unclear who is who), at 3.0 s"]
    often = [_track(0.0, "unclear", 2.0 * time) for time in range(1, 31)]
    many = cut_warnings(often)
    assert many[0].startswith("track cut 30 times (unclear who is who), at 2.0, 4.0, ")
    assert many[0].endswith(" s and later")
    assert cut_times(often) == [2.0 * time for time in range(1, 31)], "all of them"
