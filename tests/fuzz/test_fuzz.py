"""The fuzz in short, always the same files; `make fuzz` is the long one. And whether it would notice what is wrong."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avfusion.runtime.errors import BadInputError
from tests.fuzz import harness, worker
from tests.fuzz.harness import Answer, Reader, explore
from tests.fuzz.mutations import NUMBERS, Wound, wounded
from tests.fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the worker is watched by Linux's inotify and /proc")

SHORT = [name for name in TARGETS if name != "bombs"]  # `test_bombs.py` reads those
EXAMPLES = {"media": 160, "labels": 150, "crops": 100, "params": 40, "sources": 100, "tracks": 60}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.mark.parametrize("target", SHORT)
def test_damaged_files_are_read_or_refused_by_name(reader, target):
    counts, findings = explore(reader, target, EXAMPLES.get(target, 100))
    assert [(finding.answer, finding.content[:200]) for finding in findings] == []
    assert counts["read"] >= 5
    if target != "crops":  # a crop is never refused, it is no face
        assert counts["refused"] >= 5


@pytest.mark.parametrize("target", SHORT)
def test_whole_files_are_read(reader, target):
    answers = [reader.read(target, content) for content in TARGETS[target].seeds()]
    refused = [answer for answer in answers if answer.kind == "refused"]
    assert all(answer.kind in ("read", "refused") for answer in answers)
    assert len(refused) == (7 if target == "media" else 0)  # the texts


def answer_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException | None) -> tuple[str, str]:
    def read(file: Path) -> None:
        if error:
            raise error

    monkeypatch.setitem(worker.TARGETS, "test", Target("x.bin", read, list))
    return worker.attempt("test", tmp_path / "x.bin")


def test_only_errors_for_people_that_name_the_file_are_right_answers(monkeypatch, tmp_path):
    assert answer_of(monkeypatch, tmp_path, None) == ("read", "")
    assert answer_of(monkeypatch, tmp_path, BadInputError("x.bin is bad")) == ("refused", "x.bin is bad")
    for error, words in (
        (BadInputError("it is bad"), "does not name the file"),
        (BadInputError("x.bin is\nbad"), "of several lines"),
        (IndexError("list index"), r"IndexError at test_fuzz.py:"),
        (MemoryError(), "it asks for more than 1.0 GB of memory"),
        (AssertionError("frames"), "AssertionError at "),
        (SystemExit(1), "SystemExit at "),
    ):
        kind, what = answer_of(monkeypatch, tmp_path, error)
        assert kind == "finding"
        assert words in what


def test_crashes_and_hangs_are_told_and_the_next_file_is_read(tmp_path, monkeypatch):
    good = TARGETS["sources"].seeds()[0]
    with Reader(tmp_path / "fuzz") as reader:
        assert reader.read("sources", good) == Answer("read")
        os.kill(reader.process_id, signal.SIGSEGV)
        assert reader.read("sources", good) == Answer("crash", "exit status -11")
        assert reader.read("sources", good) == Answer("read")
        os.kill(reader.process_id, signal.SIGXCPU)
        assert reader.read("sources", good).kind == "refused"
        monkeypatch.setattr(harness, "DEADLINE_S", 0.2)
        os.kill(reader.process_id, signal.SIGSTOP)
        assert reader.read("sources", good).kind == "hang"
        monkeypatch.undo()
        assert reader.read("sources", good) == Answer("read")


def test_the_smallest_file_with_a_wrong_answer_is_kept(monkeypatch, tmp_path):
    class Picky:
        def read(self, target: str, content: bytes) -> Answer:
            return Answer("finding", "ValueError at x.py:1: long") if len(content) > 20 else Answer("read")

    monkeypatch.setattr(harness, "_seeds", lambda target: [b"0123456789" * 9])
    counts, findings = explore(Picky(), "sources", 200)  # type: ignore[arg-type]
    assert counts["finding"] > 1
    assert [finding.answer.signature for finding in findings] == ["finding ValueError at x.py:1"]
    assert 20 < len(findings[0].content) < 30
    known = [findings[0].answer.signature]
    assert explore(Picky(), "sources", 50, known=known)[1] == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wound", "expected"),
    [
        (Wound("flip", 2, 1, 0x20), b"01\x123456789"),
        (Wound("flip", 2, 1, 0), b"01\x333456789"),
        (Wound("number", 1, 2, NUMBERS.index(0x7FFFFFFF)), b"0\x7f\xff\xff\xff56789"),
        (Wound("number", 1, 1, 0x80 + 1), b"0\x07\x003456789"),
        (Wound("delete", 3, 4, 0), b"012789"),
        (Wound("double", 3, 2, 0), b"012343456789"),
        (Wound("fill", 8, 9, 0xFF), b"01234567\xff\xff"),
        (Wound("token", 1, 0, 0), b"0TOK123456789"),
        (Wound("token", 1, 1, 0), b"0TOK456789"),
        (Wound("truncate", 4, 0, 0), b"0123"),
        (Wound("truncate", 15, 0, 0), b"0123"),
        (Wound("header", 0, 2, 0), b"ot23456789"),
        (Wound("append", 0, 1, 0), b"0123456789other"),
        (Wound("append", 2, 0, 0), b"0123456789her"),
    ],
)
def test_wounds_do_what_they_are_called(wound, expected):
    assert wounded(b"0123456789", wound, [b"other"], [b"TOK"]) == expected


def test_sizes_are_falsified_before_and_behind_their_tags():
    content, last = bytes(8) + b"moov" + bytes(8), NUMBERS.index(0xFFFFFFFF)
    behind = wounded(content, Wound("size", 0, 2, last), [b""], [b""])
    before = wounded(content, Wound("size", 0, 2, last + len(NUMBERS)), [b""], [b""])
    assert behind == bytes(8) + b"moov" + b"\xff" * 4 + bytes(4)
    assert before == bytes(4) + b"\xff" * 4 + b"moov" + bytes(8)
