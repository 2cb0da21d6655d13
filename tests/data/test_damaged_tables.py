"""data/corpus/tracks.parquet that is damaged, or of other columns: one error that says what to do."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avfusion.corpora.table import SCHEMA, read_tracks, write_tracks
from avfusion.runtime.errors import BadInputError

BLANKS = {pa.string(): "a", pa.int64(): 3, pa.float64(): 0.5, pa.bool_(): True}
ROW = {field.name: BLANKS.get(field.type, []) for field in SCHEMA} | {"video_path": "a.mp4"}


def refused(path, *, match):
    with pytest.raises(BadInputError, match=match) as caught:
        read_tracks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_lost_or_changed_are_a_table_or_one_error(tmp_path):
    path = tmp_path / "tracks.parquet"
    write_tracks(path, [])
    whole = path.read_bytes()
    refusals = []
    for at in range(0, len(whole), 67):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            path.write_bytes(content)
            try:
                read_tracks(path)
            except BadInputError as error:
                refusals.append(str(error))
    assert len(refusals) > len(whole) // 67
    assert all("run the stage `corpus` again" in text and "\n" not in text for text in refusals)


def test_text_that_is_none_and_columns_of_other_types(tmp_path):
    path = tmp_path / "tracks.parquet"
    pq.write_table(pa.Table.from_pylist([ROW], SCHEMA), path, compression="none", use_dictionary=False)
    assert read_tracks(path)[0].video_path == "a.mp4"
    path.write_bytes(path.read_bytes().replace(b"a.mp4", b"\xff.mp4"))
    refused(path, match=r"is not a table of tracks .*'utf-8' codec")
    pq.write_table(pa.Table.from_pylist([ROW | {"crops_paths": "no list"}]), path)
    refused(path, match="is not a table of tracks")
    pq.write_table(pa.Table.from_pylist([ROW | {"crops_paths": None}], SCHEMA), path)
    refused(path, match="is not a table of tracks")
    pq.write_table(pa.Table.from_pylist([{"track": "a"}]), path)
    refused(path, match="has no column video, split, ")
