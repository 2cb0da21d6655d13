"""The doctor's report, and its JSON.

`avfusion doctor --json` prints one object with these keys, all of them always there:

exit_code    0, 1 or 2: see `Report.exit_code`.
items        findings, the gravest first, each with `section` (environment, params, corpus, cost), `name`, `status` (ok;
             warn: look at it; missing: without it nothing can be computed) and `text`, whose first line may be
             followed by others, one for each file that is concerned.
environment  `versions` by package, `cores`, `memory_gb`, `gpus` by name, `free_disk_gb`.
splits       by split (train, val, test, "" for none): the numbers of `SplitFacts`.
tracks       by track of which there is something to say: its warnings, one sentence each.
cost         what a run takes: see `avfusion.doctor.costs.Costs`; null where params.yaml or the corpus cannot be used.
tuning       with `--tune`: see `avfusion.doctor.tuning.Tuning`; else null.

Keys may be added; none is renamed or removed.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from avfusion.doctor.costs import Costs
from avfusion.doctor.tuning import Tuning

Status = Literal["ok", "warn", "missing"]
GRAVITY = {"missing": 0, "warn": 1, "ok": 2}


@dataclass(frozen=True)
class Item:
    """One finding."""

    section: str
    name: str
    status: Status
    text: str


@dataclass(frozen=True)
class SplitFacts:
    """Numbers of tracks of one split.

    Attributes:
        tracks: All of them.
        videos: Their videos, each once.
        frames: Video frames of the tracks whose videos have been looked at.
        no_video: Tracks whose video is not there.
        unreadable: Tracks whose video cannot be read.
        no_crops: Tracks with a video and without face crops.
        rows_disagree: Tracks whose annotation has another number of rows than the video has frames (own labels, which
            may be of other moments, are not counted).
        warned: Tracks with any warning.
    """

    tracks: int
    videos: int
    frames: int
    no_video: int
    unreadable: int
    no_crops: int
    rows_disagree: int
    warned: int


@dataclass(frozen=True)
class Report:
    """All that was found; the keys of the JSON but for `exit_code`."""

    items: tuple[Item, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    tracks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cost: Costs | None = None
    tuning: Tuning | None = None

    @property
    def missing(self) -> bool:
        """Something is missing without which nothing can be computed."""
        return any(item.status == "missing" for item in self.items)

    @property
    def exit_code(self) -> int:
        """0: nothing is missing; 2: what the user gives (parameters, data) cannot be used; 1: our environment."""
        sections = {item.section for item in self.items if item.status == "missing"}
        return 0 if not sections else 1 if "environment" in sections else 2

    def to_json(self) -> str:
        """The report for programs."""
        values = asdict(self) | {"exit_code": self.exit_code}
        return json.dumps(values, sort_keys=True, indent=2, ensure_ascii=False)
