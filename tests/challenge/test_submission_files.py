"""Challenge files by themselves: what is written is read back, and any damage is seen."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avfusion.challenge.submission_files import check_table, value_table, write_folder, write_table
from avfusion.runtime.errors import AVFusionError, BadInputError

values_st = st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 2), min_size=1, max_size=60)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=values_st, located=st.booleans())
def test_what_is_written_is_read_to_five_decimals(
    values: list[tuple[float, float]], located: bool, tmp_path: Path
) -> None:
    array = np.array(values, np.float32)
    location = pa.array([f"a b/{i:05d}.jpg" for i in range(len(array))]) if located else None
    table = value_table(array, location)
    write_table(tmp_path / "t.txt", table)
    written = check_table(tmp_path / "t.txt", table)
    found = pd.read_csv(tmp_path / "t.txt")
    read = found[["valence", "arousal"]].to_numpy()
    assert np.abs(read - array).max() <= 5.0001e-6
    assert "-0.00000" not in (tmp_path / "t.txt").read_text()
    assert written.lowest == tuple(read.min(axis=0))
    assert written.highest == tuple(read.max(axis=0))
    assert not located or found["image_location"].tolist() == location.to_pylist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("valence,arousal", "arousal,valence"), "line 1: another header"),
        (lambda t: t.replace("\n", "\r\n"), "line 1: another header"),
        (lambda t: t.replace("0.25000", "0.25"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "nan"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "1.25000"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "0.25001"), "line 3: another value than predicted"),
        (lambda t: t.replace("0.25000", "-0.25000"), "line 3: another value than predicted"),
        (lambda t: t.replace("a/2.jpg", "a/02.jpg"), "line 3: another image location"),
        (lambda t: "\n".join([*t.split("\n")[:2], *t.split("\n")[3:]]), "line 3: another image location"),
        (lambda t: t[: t.rindex("a/3")], "line 4: the file ends after 2 of 3 rows"),
        (lambda t: t + "a/4.jpg,0.00000,0.00000\n", "line 5: a row too many"),
        (lambda t: t.rstrip("\n"), "line 4: not a row of the format"),
        (lambda t: t + "\n", "line 5: not a row of the format"),
    ],
)
def test_validation_sees_every_kind_of_damage(tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    location = pa.array(["a/1.jpg", "a/2.jpg", "a/3.jpg"])
    table = value_table(np.array([[0, 1], [0.25, -1], [-0.5, 0.5]], np.float32), location)
    path = tmp_path / "t.txt"
    write_table(path, table)
    assert check_table(path, table).rows == 3
    path.write_bytes(change(path.read_text()).encode())
    with pytest.raises(AVFusionError, match=words):
        check_table(path, table)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from avfusion.challenge.submission_files import value_table, write_folder
replace = os.replace
def once(*paths):
    replace(*paths)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = once
write_folder(Path(sys.argv[1]), {"a": value_table(np.full((2, 2), 0.5, np.float32))}, force=True)
"""


def test_a_submission_is_back_after_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    old, new = ({"a": value_table(np.full((2, 2), value, np.float32))} for value in (0.25, 0.5))
    write_folder(folder, old)
    before = (folder / "a.txt").read_bytes()
    assert subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False).returncode == -9
    assert not folder.exists()
    with pytest.raises(BadInputError, match="holds another submission"):
        write_folder(folder, new)
    assert (folder / "a.txt").read_bytes() == before
    write_folder(folder, new, force=True)
    assert b"0.50000" in (folder / "a.txt").read_bytes()
