import numpy as np

from avfusion.media.contact_sheet import contact_sheet, sample_frames


def test_sampled_frames_reach_from_first_to_last_without_doubles():
    assert sample_frames(1000, 5).tolist() == [0, 250, 500, 749, 999]
    assert sample_frames(3, 40).tolist() == [0, 1, 2]
    assert sample_frames(1).tolist() == [0]


def test_sheet_shows_crops_gaps_and_the_bar():
    crops = [np.full((112, 112, 3), 10 * index, np.uint8) if index % 2 else None for index in range(12)]
    present = np.arange(100) < 50
    sheet = contact_sheet("name", "words", np.arange(12), crops, present)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (384, 1224, 3)
    values = {tuple(pixel) for pixel in sheet.reshape(-1, 3)[::3].tolist()}
    assert {(10, 10, 10), (110, 110, 110), (58, 124, 165), (221, 161, 94)} <= values
    bar = sheet[77]
    assert tuple(bar[300]) == (58, 124, 165)
    assert tuple(bar[900]) == (221, 161, 94)


def test_cuts_are_marked_on_the_bar():
    crops, present = [np.zeros((112, 112, 3), np.uint8)], np.ones(100, bool)
    plain = contact_sheet("name", "words", np.arange(1), crops, present)
    marked = contact_sheet("name", "words", np.arange(1), crops, present, np.array([0, 25, 99]))
    columns = np.flatnonzero((plain != marked).any(axis=(0, 2)))
    assert columns.tolist() == [15, 16, 313, 314, 1194, 1195], "the bar is from 16 to 1208"
    rows = np.flatnonzero((plain != marked).any(axis=(1, 2)))
    assert rows[0] < 70 < 84 <= rows[-1], "over the bar's edges"
