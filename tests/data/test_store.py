"""The per-track store: incremental, without orphans, never half a file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avfusion.data.store import Store, update_store
from avfusion.runtime.atomic import TEMPORARY_PREFIX
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp

SERIAL = ExecutionSettings(executor="serial", workers=1)
PROCESSES = ExecutionSettings(executor="processes", workers=2)


def write(payload: str, path: Path, wanted: Stamp) -> None:
    if payload == "bad":
        path.write_text("half")
        raise AVFusionError("it is bad")
    path.write_text(f"{wanted.made} {wanted.code}\n{payload}")


def write_slowly(payload: str, path: Path, wanted: Stamp) -> None:
    path.write_text(f"{wanted.made} {wanted.code}\nhal")
    time.sleep(60)


def die_writing(payload: str, path: Path, wanted: Stamp) -> None:
    write(payload, path, wanted)
    if payload == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def write_nothing(payload: str, path: Path, wanted: Stamp) -> None:
    pass


def stamp_of(path: Path) -> Stamp:
    return Stamp(*path.read_text().splitlines()[0].split(" "))


def update(folder, wanted, payloads, execution=SERIAL, make=write, code="c", **options):
    stamps = {key: Stamp(made, code) for key, made in wanted.items()}
    store = Store(Path(folder), ".txt", stamps, payloads, make, stamp_of)
    return update_store(store, execution=execution, label="store", **options)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().replace(" c\n", "\n") for path in folder.iterdir()}


@pytest.mark.parametrize("execution", [SERIAL, PROCESSES], ids=["serial", "processes"])
def test_only_what_changed_is_made_and_orphans_go(tmp_path, execution, capsys):
    folder = tmp_path / "store"
    first = update(folder, {"a": "1", "b": "1", "c": "1"}, {"a": "A", "b": "B", "c": "C"}, execution)
    assert (first.made, first.kept, first.removed) == (("a", "b", "c"), (), ())
    before = (folder / "a.txt").stat().st_mtime_ns
    second = update(folder, {"a": "1", "b": "2", "d": "1"}, {"b": "B2", "d": "D"}, execution)
    assert (second.made, second.kept, second.removed) == (("b", "d"), ("a",), ("c",))
    assert contents(folder) == {"a.txt": "1\nA", "b.txt": "2\nB2", "d.txt": "1\nD"}
    assert (folder / "a.txt").stat().st_mtime_ns == before
    assert "store: 2 made, 1 kept, 1 removed, 0 failed" in capsys.readouterr().out


def test_other_code_makes_everything_anew(tmp_path):
    update(tmp_path, {"a": "1", "b": "1"}, {"a": "A", "b": "B"})
    assert update(tmp_path, {"a": "1", "b": "1"}, {"a": "A", "b": "B"}, code="d").made == ("a", "b")
    assert (tmp_path / "a.txt").read_text() == "1 d\nA"


def test_failures_are_listed_raised_at_the_end_and_leave_no_file(tmp_path, capsys):
    update(tmp_path, {"b": "1"}, {"b": "old"})
    with pytest.raises(AVFusionError, match="store: 1 of 3 failed: b: it is bad"):
        update(tmp_path, {"a": "1", "b": "2", "c": "1"}, {"a": "A", "b": "bad", "c": "C"})
    assert contents(tmp_path) == {"a.txt": "1\nA", "c.txt": "1\nC"}
    assert "  b: it is bad" in capsys.readouterr().out


def test_skip_reports_failures_without_raising(tmp_path):
    report = update(tmp_path, {"a": "1", "b": "1"}, {"a": "A", "b": "bad"}, on_error="skip")
    assert report.failed == {"b": "it is bad"}
    assert report.made == ("a",)


def test_unreadable_files_are_made_anew_and_leftovers_of_a_kill_removed(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / f"{TEMPORARY_PREFIX}999-b.txt").write_text("half")
    (tmp_path / "notes.md").write_text("not ours")
    report = update(tmp_path, {"a": "1"}, {"a": "A"})
    assert (report.made, report.removed) == (("a",), ())
    assert contents(tmp_path) == {"a.txt": "1\nA", "notes.md": "not ours"}
    assert "store: no stamp can be read in 1 of the files: made anew\n" in capsys.readouterr().out


def test_a_worker_that_dies_while_writing_leaves_nothing(tmp_path):
    report = update(tmp_path, {"a": "1", "b": "1"}, {"a": "die", "b": "B"}, PROCESSES, die_writing, on_error="skip")
    assert "signal SIGKILL" in report.failed["a"]
    assert contents(tmp_path) == {"b.txt": "1\nB"}


def test_a_maker_that_writes_nothing_is_a_failure(tmp_path):
    with pytest.raises(AVFusionError, match=r"nothing was written for a\.txt"):
        update(tmp_path, {"a": "1"}, {"a": "A"}, make=write_nothing)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_store import PROCESSES, update, write_slowly
if __name__ == "__main__":
    update({folder!r}, {{"a": "1", "b": "1"}}, {{"a": "A", "b": "B"}}, PROCESSES, write_slowly)
"""


def test_a_kill_in_the_middle_leaves_no_final_file_and_a_rerun_finishes(tmp_path):
    folder, script = tmp_path / "store", tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder)))
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while len(list(folder.glob(".partial-*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert all(path.name.startswith(TEMPORARY_PREFIX) for path in folder.iterdir())
    (folder / ".tmpKUfeZ2").write_text("hal")  # safetensors names the files so that it has not finished
    update(folder, {"a": "1", "b": "1"}, {"a": "A", "b": "B"})
    assert contents(folder) == {"a.txt": "1\nA", "b.txt": "1\nB"}
