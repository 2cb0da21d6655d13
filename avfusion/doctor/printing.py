"""Print the doctor's report: worst findings first, long lists shortened."""

import os
import re
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from avfusion.doctor.costs import Costs, timespan
from avfusion.doctor.report import Report
from avfusion.doctor.tuning import Tuning
from avfusion.doctor.workload import ASSUMED_BYTES_PER_S, ASSUMED_FPS
from avfusion.runtime.quantities import byte_size, counted

MARKS = {"missing": ("missing", "bold red"), "warn": ("look", "yellow"), "ok": ("ok", "green")}
FATAL = re.compile(r"cannot be used|^unreadable video")
NAMES_SHOWN = 3
LIST_SHOWN = 8  # longer lists at the end of a text are cut to 5
LINES_SHOWN = 12  # per finding
NEXT_FAULT = {"params": r"; (?=[a-z_]+(?:\.\w+)*(?: is |: ))", "corpus": r"; (?=line \d+: |\d+ more lines of)"}


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the findings, the warnings of the corpus, the costs of a run, and the results of a tuning."""
    console = console or Console(highlight=False, width=None if os.isatty(1) else 120)
    console.print(_items(report))
    if report.tracks:
        total = sum(facts.tracks for facts in report.splits.values())
        title = f"Warnings, of {len(report.tracks)} of {counted(total, 'track')} (--json lists all):"
        console.print(Group("", Text(title, "bold"), _warnings(report.tracks)))
    if report.cost:
        console.print(Group("", Text(_size(report.cost), "bold"), _costs(report.cost)))
        console.print(_basis(report.cost), style="dim")
    if report.tuning:
        heading = Text("Speed of the backbones, in random clips per second:", "bold")
        console.print(Group("", heading, _tuning(report.tuning)))
        console.print(_recommendation(report.tuning), markup=False)


def group_warnings(tracks: Mapping[str, Sequence[str]]) -> list[list[tuple[str, str]]]:
    """Pairs of warning and track, grouped by kind of warning: first those that make a track useless, then by frequency.

    Warnings that differ only in numbers or file names are of one kind.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for track, warnings in tracks.items():
        for warning in warnings:
            kinds.setdefault(_kind(warning), []).append((track, warning))
    ranked = sorted(kinds.items(), key=lambda kind: (not FATAL.search(kind[0]), -len(kind[1]), kind[0]))
    return [found for _, found in ranked]


def _kind(warning: str) -> str:
    """A warning without the parts that differ between tracks: names in quotes or brackets, videos, numbers."""
    kind = re.sub(r"'[^']*'|\([^)]*/[^)]*\)|, e\.g\. .*|(?<=unreadable video: ).*?(?=: )", "…", warning)
    return re.sub(r"(?<![\w/])-?\d+(?:\.\d+)?", "N", kind)


def _numbers(warning: str) -> list[str]:
    return re.findall(r"(?<![\w/])-?\d+(?:\.\d+)?", warning)


def shorten(text: str) -> str:
    """Shorten a text that ends in `: a, b, c, …` to the first few names."""
    head, colon, tail = text.rpartition(": ")
    names = tail.split(", ")
    if not colon or len(names) <= LIST_SHOWN:
        return text
    return f"{head}: {', '.join(names[:5])} and {len(names) - 5} more"


def fault_lines(section: str, text: str) -> list[tuple[int, str]]:
    """The lines of a finding with their depths; several faults in one line get a line each."""
    lines: list[tuple[int, str]] = []
    for line in text.split("\n"):
        depth = min(len(lines), 1)
        first, *others = re.split(NEXT_FAULT[section], line) if section in NEXT_FAULT else [line]
        if others:
            file, _, fault = re.split(r"(, (?=line \d+: )|: )", first, maxsplit=1)
            lines += [(depth, f"{file}:"), *((depth + 1, one) for one in (fault, *others))]
        else:
            lines.append((depth, line))
    return lines


def _finding(section: str, text: str) -> Group:
    lines = fault_lines(section, text)
    more = len(lines) - LINES_SHOWN
    if more > 1:
        lines = [*lines[:LINES_SHOWN], (1, f"and {more} more (--json lists all)")]
    return Group(*(Padding(Text(shorten(line)), (0, 0, 0, 2 * depth)) for depth, line in lines))


def _items(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold", ratio=1)
    for item in report.items:
        mark, style = MARKS[item.status]
        table.add_row(Text(mark, style), item.name, _finding(item.section, item.text))
    return table


def _warnings(tracks: Mapping[str, Sequence[str]]) -> Padding:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for (first, sentence), *rest in group_warnings(tracks):
        others = [track for track, _ in rest]
        differ = any(_numbers(other) != _numbers(sentence) for _, other in rest)
        line = Text.assemble((first, "bold"), f": {sentence}")
        if others:
            more = f" and {len(others) - NAMES_SHOWN} more" if len(others) > NAMES_SHOWN else ""
            line.append(
                f"; likewise{', with other numbers' if differ else ''}: {', '.join(others[:NAMES_SHOWN])}{more}", "dim"
            )
        table.add_row(str(1 + len(others)), line)
    return Padding(table, (0, 0, 0, 2))


def _size(costs: Costs) -> str:
    about = "about " if costs.assumed_videos else ""
    length = f"{about}{costs.frames:,} frames, {timespan(costs.hours * 3600)}"
    return f"{counted(costs.tracks, 'track')} of {counted(costs.videos, 'video')}, {length}. A complete run:"


def _costs(costs: Costs) -> Padding:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("work", overflow="fold", ratio=1)
    for name in ("CPU", "time", "disk", "last run"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in costs.stages:
        mark = " " if stage.basis == "estimate" else "*"
        last = "–" if stage.last_run_s is None else timespan(stage.last_run_s)
        last = f"({last})" if stage.last_run_before else last
        cells = (timespan(stage.cpu_s), timespan(stage.wall_s) + mark, byte_size(stage.gigabytes * 1e9), last)
        table.add_row(stage.stage, stage.work, *cells, end_section=stage is costs.stages[-1])
    cpu, wall = (timespan(sum(seconds)) for seconds in zip(*((s.cpu_s, s.wall_s) for s in costs.stages), strict=True))
    table.add_row("all", "", cpu, f"{wall} ", byte_size(costs.gigabytes * 1e9), "", style="bold")
    return Padding(table, (0, 0, 0, 2))


def _basis(costs: Costs) -> str:
    texts = []
    if any(stage.basis == "estimate" for stage in costs.stages):
        texts.append(f"Estimates, within a factor of two or three, from rates of {costs.measured_on}.")
    if any(stage.basis != "estimate" for stage in costs.stages):
        texts.append("* measured by the last run, which made everything with these parameters.")
    if any(stage.last_run_before for stage in costs.stages):
        texts.append("In brackets: on another corpus, or before the stage corpus last ran.")
    if costs.assumed_videos and not costs.unrendered:
        texts.append(
            f"The lengths of {costs.assumed_videos:,} videos are assumed: as far as labels or crops reach at "
            f"{ASSUMED_FPS:g} fps, else {ASSUMED_BYTES_PER_S / 1000:g} kB per second; the stage corpus reads them."
        )
    return " ".join(texts)


def _tuning(tuning: Tuning) -> Padding:
    table = Table(box=None, pad_edge=False)
    for name in ("workers", "threads", "dtype", "visual", "audio", "both", "ratio", "max diff", "relative"):
        table.add_column(name, justify="left" if name == "dtype" else "right", no_wrap=True)
    for one in tuning.measurements:
        table.add_row(
            str(one.workers),
            str(one.threads),
            one.dtype,
            f"{one.visual:,.1f}",
            f"{one.audio:,.1f}",
            f"{one.both:,.1f}",
            f"{one.ratio:.2f}",
            f"{one.difference:.1e}" if one.difference else "0",
            f"{one.relative:.1e}" if one.relative else "0",
        )
    return Padding(table, (0, 0, 0, 2))


def _recommendation(tuning: Tuning) -> str:
    lines = [
        f"On {tuning.device}, with {tuning.weights} weights. Differences are from float32; relative ones over "
        "their standard deviation.",
        *tuning.failures,
    ]
    if tuning.recommended:
        settings = ", ".join(f"{key}: {value}" for key, value in tuning.recommended.items())
        lines.append(
            f"Recommended for params.yaml: {settings}. Nothing was written; with them the features are made anew."
        )
    else:
        lines.append("params.yaml is best as it is.")
    hours = {
        "as params.yaml is": tuning.hours_now,
        "as recommended": tuning.hours_recommended if tuning.recommended else None,
    }
    if known := [f"{timespan(value * 3600)} {how}" for how, value in hours.items() if value is not None]:
        lines.append(f"The stage features takes {', '.join(known)}.")
    return "\n".join(lines)
