"""The report for people: the gravest first, each kind of warning once, nothing wider than the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from avfusion.doctor import diagnose, print_report
from avfusion.doctor.printing import fault_lines, group_warnings, shorten
from avfusion.doctor.report import Item, Report
from avfusion.doctor.tuning import Measurement, Tuning


def printed(report: Report, width: int = 100) -> str:
    stream = StringIO()
    print_report(report, Console(file=stream, width=width))
    return stream.getvalue()


def test_warnings_are_grouped_by_what_they_say_not_by_its_numbers_and_names():
    tracks = {
        "12-30-1280x720": ("13 label rows for 12 video frames: the last 1 are not used",),
        "b": ("no video 'b' below videos/: the track cannot be used",),
        "c": ("no video 'c' below videos/: the track cannot be used", "no crops: faces are detected in the video"),
        "d": ("130 label rows for 120 video frames: the last 10 are not used",),
        "e": ("2 videos have this name (videos/1/e.mp4, videos/2/e.mp4): the first is used",),
        "f": ("2 videos have this name (videos/1/f.mp4, videos/2/f.mp4): the first is used",),
        "g": ("its video is in several splits (train, val)",),
        "h": ("its video is in several splits (test, train)",),
        "i": ("unreadable video: videos/i.mp4: is empty (0 bytes)",),
        "j": ("unreadable video: videos/2/j.mp4: cannot be read as media: it is a text file, not a video",),
        "l": ("unreadable video: videos/l.mp4: is empty (0 bytes)",),
        "k": ("3 files among the crops are no numbered images, e.g. Thumbs.db",),
    }
    found = [(group[0][1], [track for track, _ in group]) for group in group_warnings(tracks)]
    assert found == [
        ("no video 'b' below videos/: the track cannot be used", ["b", "c"]),
        ("unreadable video: videos/i.mp4: is empty (0 bytes)", ["i", "l"]),
        ("unreadable video: videos/2/j.mp4: cannot be read as media: it is a text file, not a video", ["j"]),
        ("13 label rows for 12 video frames: the last 1 are not used", ["12-30-1280x720", "d"]),
        ("2 videos have this name (videos/1/e.mp4, videos/2/e.mp4): the first is used", ["e", "f"]),
        ("3 files among the crops are no numbered images, e.g. Thumbs.db", ["k"]),
        ("its video is in several splits (test, train)", ["h"]),
        ("its video is in several splits (train, val)", ["g"]),
        ("no crops: faces are detected in the video", ["c"]),
    ]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (
            "9 videos belong to no track: a, b, c, d, e, f, g, h, i",
            "9 videos belong to no track: a, b, c, d, e and 4 more",
        ),
        ("8 videos belong to no track: a, b, c, d, e, f, g, h", "8 videos belong to no track: a, b, c, d, e, f, g, h"),
        ("no colon, but, many, many, many, many, many, many, many, commas",) * 2,
        ("valid",) * 2,
    ],
)
def test_long_lists_at_the_end_are_cut(text, short):
    assert shorten(text) == short


def test_a_kind_is_shown_by_its_first_track_and_the_names_of_the_others():
    rows = {f"t{n}": (f"{n + 12} label rows for 12 video frames: the last {n} are not used",) for n in range(1, 7)}
    lines = printed(Report((), tracks=rows | {"one": ("no crops: faces are detected in the video",)}), 120).splitlines()
    assert [line.strip() for line in lines[2:]] == [
        "6  t1: 13 label rows for 12 video frames: the last 1 are not used; likewise, with other numbers: t2, t3, t4 "
        "and 2 more",
        "1  one: no crops: faces are detected in the video",
    ]


@pytest.mark.parametrize(
    ("section", "text", "lines"),
    [
        (
            "corpus",
            "/own/manifest.csv, line 2: column split: 'dev': no; maybe; line 4: column video: the file's gone",
            [(0, "/own/manifest.csv:"), (1, "line 2: column split: 'dev': no; maybe"),
             (1, "line 4: column video: the file's gone")],
        ),
        (
            "corpus",
            "2 of 3 annotation files cannot be used:\na.csv, line 2: 'x': no\nb.csv, line 2: 'y'; line 3: 'z'; "
            "7 more lines of this file",
            [(0, "2 of 3 annotation files cannot be used:"), (1, "a.csv, line 2: 'x': no"), (1, "b.csv:"),
             (2, "line 2: 'y'"), (2, "line 3: 'z'"), (2, "7 more lines of this file")],
        ),
        (
            "params",
            "params.yaml: features.stride is 3: must be one of 1, 2; corpus.roots is unknown: must be one of name",
            [(0, "params.yaml:"), (1, "features.stride is 3: must be one of 1, 2"),
             (1, "corpus.roots is unknown: must be one of name")],
        ),
        ("corpus", "3 tracks of 2 videos; 1 unreadable", [(0, "3 tracks of 2 videos; 1 unreadable")]),
        ("cost", "a; line 3: b", [(0, "a; line 3: b")]),
    ],
)  # fmt: skip
def test_each_fault_has_its_line(section, text, lines):
    assert fault_lines(section, text) == lines


def test_faults_are_indented_and_many_are_cut():
    text = "30 failed when it last ran:\n" + "\n".join(f"v{n:02d}.mp4: is empty" for n in range(30))
    lines = printed(Report((Item("corpus", "stage corpus", "warn", text),))).splitlines()
    assert lines[0].rstrip() == "look  stage corpus  30 failed when it last ran:"
    assert lines[1].rstrip() == "                      v00.mp4: is empty"
    assert lines[-1].strip() == "and 19 more (--json lists all)"
    assert len(lines) == 13


def test_json_lists_all_that_the_print_shortens(corpus_project):
    for number in range(20):
        (corpus_project.parent / "data" / "videos" / f"x{number:02d}.mp4").touch()
    report = diagnose(corpus_project)
    names = [f"x{number:02d}" for number in range(20)]
    note = f"20 videos belong to no valence-arousal track: {', '.join(names)}"
    assert note in [item.text for item in report.items]
    assert "x04 and 15 more" in printed(report, 120)
    assert "x05" not in printed(report)


@pytest.mark.parametrize("width", [80, 100])
def test_every_irregularity_is_shown_once_and_fits(corpus_project, width, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    report = diagnose(corpus_project)
    lines = printed(report, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    found = {tuple(line.split()[:2]): " ".join(line.split()[2:]) for line in lines if line.startswith("look")}
    assert found["look", "train"].startswith("2 tracks of 2 videos; 1 without their video")
    assert found["look", "backbones.visual.weights"].startswith("kinetics400: r2plus1d_18-91a641e6.pth is not in")
    for once in ("no video 'gone'", "no crops: faces are", "annotations/AU_Set"):
        assert text.count(once) == 1, once
    assert "Warnings, of 2 of 4 tracks (--json lists all):" in text
    header, *stages = lines[lines.index(next(line for line in lines if line.startswith("  stage "))) :][:10]
    assert header.split() == ["stage", "work", "CPU", "time", "disk", "last", "run"]
    names = [line.split()[0] for line in stages if not line.startswith("   ")]
    assert names[:3] == ["corpus", "labels", "frames"]
    assert "Estimates, within a factor of two or three" in text
    assert "The lengths of 3 videos are assumed" in " ".join(text.split())


def test_markup_in_texts_is_text():
    text = printed(Report((Item("params", "params.yaml", "missing", "features.stride is [bold]: [/] no"),)))
    assert text.split(maxsplit=2)[2].strip() == "features.stride is [bold]: [/] no"


def test_a_tuning_is_shown_with_what_to_set():
    slow = Measurement(2, 1, "float32", 4.0, 100.0, 3.85, 1.0, 0.0, 0.0)
    fast = Measurement(2, 1, "bfloat16", 10.0, 120.0, 9.2, 2.4, 0.031, 0.008)
    tuning = Tuning("cpu", "random", (slow, fast), {"features.dtype": "bfloat16"}, 195.0, 81.5, ("1 x 2: killed",))
    text = printed(Report((), tuning=tuning))
    assert "        2        1  bfloat16    10.0  120.0   9.2   2.40   3.1e-02   8.0e-03" in text
    assert "On cpu, with random weights." in text
    assert "1 x 2: killed" in text
    assert "Recommended for params.yaml: features.dtype: bfloat16. Nothing was written" in text
    assert "The stage features takes 195 h as params.yaml is, 82 h as recommended." in text
    text = printed(Report((), tuning=Tuning("cpu", "trained", (slow,), {}, None, None, ())))
    assert "params.yaml is best as it is." in text
    assert "The stage features" not in text


def test_last_runs_on_another_corpus_are_in_brackets(corpus_project):
    (corpus_project / "dvc.lock").write_text(
        "stages: {corpus: {params: {params.yaml: {corpus: {name: demo, root: x}}}}}"
    )
    times = corpus_project / ".avfusion" / "times" / "features.json"
    times.parent.mkdir(parents=True)
    times.write_text('{"wall_s": 40.0, "cpu_s": 80.0}')
    text = printed(diagnose(corpus_project), 120)
    row = next(line for line in text.splitlines() if line.startswith("  features"))
    assert row.split()[-2:] == ["(40", "s)"]
    assert "In brackets: on another corpus, or before the stage corpus last ran." in " ".join(text.split())
