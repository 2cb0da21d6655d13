"""What the organisers' sample or list makes of a submission, in whatever state it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avfusion.challenge.submission import Submission, submit
from avfusion.corpora.notes import DRAWN
from avfusion.runtime.errors import BadInputError
from tests.challenge.evaluated_project import FRAMES, HEADER, ROWS, locations, predicted, sample_file


def notes_of_rows(done: Submission) -> tuple[str, ...]:
    """The notes without the first one, that of the corpus."""
    assert done.notes[0] == DRAWN
    return done.notes[1:]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_a_sample_come_in_its_order(data: st.DataObject, root: Path) -> None:
    everything = locations()
    rows = data.draw(st.one_of(st.permutations(everything), st.lists(st.sampled_from(everything), min_size=1)))
    done = submit(root, Path("o.txt"), sample=sample_file(root, [HEADER.strip(), *rows]), smooth=False, force=True)
    table = pd.read_csv("o.txt")
    assert table["image_location"].tolist() == rows
    values = {track: predicted(root, track) for track in FRAMES}
    expected = [values[row.split("/")[0]][int(row[-9:-4]) - 1] for row in rows]
    np.testing.assert_allclose(table[["valence", "arousal"]], expected, atol=5.0001e-6)
    named, notes = set(rows), " ".join(done.notes)
    present = {row.split("/")[0] for row in rows}
    unused = sum(FRAMES[track] for track in present) - len(named)
    assert (f"{unused} frames are not in the sample" in notes) == (unused > 0)
    assert (f"{3 - len(present)} tracks are not in the sample" in notes) == (len(present) < 3)
    assert (f"{len(rows) - len(named)} rows of the sample repeat a frame: they are written as often" in notes) == (
        len(rows) > len(named)
    )


@pytest.mark.parametrize(
    ("header", "row", "change", "note"),
    [
        ("image_location,valence,arousal", "{},-5,-5", lambda text: text.replace("\n", "\r\n"), None),
        ("image_location,valence,arousal", "{},,", lambda text: "\ufeff" + text, None),
        ("image_location,valence,arousal", "{},", lambda text: text + "\n  \n\n", None),
        ("Image_Location, valence , arousal", " {} , 0.1 , ", lambda text: text.rstrip("\n"), None),
        ("image_location", "{}", str, None),
        (None, "{},0,0", lambda text: "\ufeff" + text.replace("\n", "\r\n"), "the sample has no header"),
        (None, "{}", str, "the sample has no header"),
        ("arousal,valence,image_location", "0.5,,{}", str, "columns are arousal, valence, image_location"),
        ("valence,image_location,arousal", ",{},", str, "written in the order image_location, valence, arousal"),
    ],
)
def test_samples_in_every_state_are_read(
    root: Path, header: str | None, row: str, change: Callable[[str], str], note: str | None
) -> None:
    rows = locations()[::-1]
    sample = sample_file(root, [*([header] if header else []), *(row.format(one) for one in rows)], change)
    done = submit(root, Path("out.txt"), sample=sample)
    text = Path("out.txt").read_text()
    assert text.startswith(HEADER)
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == rows
    notes = notes_of_rows(done)
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_a_sample_far_longer_than_a_block_keeps_its_order_and_lines(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avfusion.challenge.submission_sample._BLOCK_BYTES", 100)
    rows = locations()[::-1]
    submit(root, Path("out.txt"), sample=sample_file(root, [HEADER.strip(), *rows]))
    assert pd.read_csv("out.txt")["image_location"].tolist() == rows
    bad = sample_file(root, [HEADER.strip(), *rows, "", "nonsense"])
    with pytest.raises(BadInputError, match=f"line {ROWS + 3}: 'nonsense': rows"):
        submit(root, Path("out.txt"), sample=bad)
    bad = sample_file(root, [HEADER.strip(), *rows, "test-0/00999.jpg"])
    with pytest.raises(BadInputError, match=f"line {ROWS + 2}: test-0/00999.jpg"):
        submit(root, Path("out.txt"), sample=bad)


def test_the_frame_past_the_last_has_its_values(root: Path) -> None:
    rows = locations({track: count + 1 for track, count in FRAMES.items()})
    done = submit(root, Path("out.txt"), sample=sample_file(root, [HEADER.strip(), *rows]))
    table = pd.read_csv("out.txt").set_index("image_location")
    assert table.index.tolist() == rows
    for track, count in FRAMES.items():
        pd.testing.assert_series_equal(
            table.loc[f"{track}/{count + 1:05d}.jpg"], table.loc[f"{track}/{count:05d}.jpg"], check_names=False
        )
    assert notes_of_rows(done) == ("3 rows are one past the last frame of their video: they have its values",)
    assert done.rows == ROWS + 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["image_location,valence,arousal", "test-0/00218.jpg", "test-0/00217.jpg", "test-1/00000.jpg"],
         ["2 frames that the videos do not have", "line 2: test-0/00218.jpg (frames 1 to 216 exist); line 4: test-1"]),
        (["image_location,valence,arousal", "other/00001.jpg", "test-0/00001.jpg", "other/00007.jpg", "val-0/1.jpg"],
         ["names 2 of 3 tracks", "test: other (2 rows, the first in line 2), val-0 (1 rows, the first in line 5)"]),
        (["image_location,valence,arousal", "test-0/1.jpg", "test-0", "a,b,c", "test-0/x.jpg", "test-0/00001.txt"],
         ["line 3: 'test-0'; line 4: 'a,b,c'; line 5: 'test-0/x.jpg'; 1 more lines"]),
        (["image_location,valence,arousal", "test-0/00001.jpg,1,2,3"], ["line 2: 'test-0/00001.jpg,1,2,3'"]),
        (["image_location,valence,arousal", "batch1/test-0/00001.jpg"], ["line 2: 'batch1/test-0/00001.jpg'"]),
        (["image_location,Neutral,Anger", "test-0/00001.jpg,0,1"], ["line 1: 'image_location,Neutral,Anger'"]),
        (["test-0", "test-1"], ["line 1: 'test-0'", "a list of tracks goes with --format abaw3"]),
        (["image_location,valence,arousal"], ["has no rows"]),
        ([""], ["line 1: ''"]),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_filled_are_named_and_counted(root: Path, lines: list[str], words: list[str]) -> None:
    with pytest.raises(BadInputError) as error:
        submit(root, Path("out.txt"), sample=sample_file(root, lines))
    assert all(word in str(error.value) for word in ["sample.txt", *words])
    assert not Path("out.txt").exists()


def test_what_is_no_sample(root: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.txt: No such file"):
        submit(root, Path("out.txt"), sample=Path("gone.txt"))
    with pytest.raises(BadInputError, match=r"data: Is a directory: a file with the rows"):
        submit(root, Path("out.txt"), sample=Path("data"))
    Path("latin.txt").write_bytes(b"image_location,valence,arousal\ntest-\xe9/00001.jpg\n")
    with pytest.raises(BadInputError, match=r"latin\.txt is not UTF-8 text"):
        submit(root, Path("out.txt"), sample=Path("latin.txt"))
    sample = sample_file(root, [HEADER.strip(), *locations()])
    with pytest.raises(BadInputError, match="is the sample"):
        submit(root, sample, sample=sample, force=True)


def test_a_list_of_tracks_chooses_the_files(root: Path) -> None:
    listed = sample_file(root, ["test-2", "test-0.txt", ""], lambda text: "\ufeff" + text.replace("\n", "\r\n"))
    done = submit(root, Path("out"), form="abaw3", sample=listed)
    assert {path.name for path in Path("out").iterdir()} == {"test-0.txt", "test-2.txt"}
    assert notes_of_rows(done) == ("1 tracks are not in the sample: left out (test-1)",)
    with pytest.raises(BadInputError, match=r"names 1 of 2 tracks that are not in the split test: nobody"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, ["test-0", "nobody"]))
    with pytest.raises(BadInputError, match=r"line 1: .*: one track name a line is needed: .* --format abaw5"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, locations()))
    with pytest.raises(BadInputError, match=r"it is empty"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, [""]))


def test_a_folder_of_samples_says_the_rows(root: Path) -> None:
    samples = Path("samples")
    samples.mkdir()
    for track, rows in (("test-0", 216 + 1), ("test-1", 225 - 4), ("test-2", 0)):
        (samples / f"{track}.txt").write_text("valence,arousal\n" + "-5,-5\n" * rows)
    done = submit(root, Path("out"), form="abaw3", sample=samples)
    lines = {track: Path(f"out/{track}.txt").read_text().splitlines()[1:] for track in FRAMES}
    assert {track: len(found) for track, found in lines.items()} == {"test-0": 217, "test-1": 221, "test-2": 270}
    assert lines["test-0"][-1] == lines["test-0"][-2]
    assert notes_of_rows(done) == (
        "1 rows are one past the last frame of their video: they have its values",
        "4 frames are not in the sample: left out",
    )
    (samples / "test-0.txt").write_text("valence,arousal\n" + "-5,-5\n" * 218)
    with pytest.raises(BadInputError, match=r"in 1 tracks: test-0 \(218 rows, 216 frames\)"):
        submit(root, Path("out"), form="abaw3", sample=samples)
