"""The doctor's report, and its JSON.

`avfusion doctor --json` prints one object, always with all of these keys:

exit_code    0, 1 or 2: see `Report.exit_code`.
items        findings, worst first, each with `section` (environment, params, corpus, cost), `name`, `status` (ok;
             warn: look at it; missing: without it nothing can be computed) and `text`, whose first line may be
             followed by others, one for each file that is concerned.
environment  `versions` by package, `cores`, `memory_gb`, `gpus` by name, `free_disk_gb`.
splits       by split (train, val, test, "" for none): the numbers of `SplitFacts`.
tracks       warnings by track, one sentence each; only tracks with warnings.
cost         costs of a run: see `avfusion.doctor.costs.Costs`; null if params.yaml or the corpus cannot be used.
tuning       with `--tune`: see `avfusion.doctor.tuning.Tuning`; else null.
lag          with `--lag`: by target `seconds`, `low`, `high`, `correlation`, `groups` of `avfusion.experiments.lag.Lag`
             and `applied`, the lag in params.yaml; `seconds_later`, of the correlations. Else, or if unknown, null.

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
        frames: Video frames of the tracks whose videos have been read.
        rows_disagree: Tracks whose annotation has more or fewer rows than the video has frames (except own labels,
            which may have times of their own).
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
    """All findings; the keys of the JSON, except `exit_code`."""

    items: tuple[Item, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    tracks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cost: Costs | None = None
    tuning: Tuning | None = None
    lag: dict[str, Any] | None = None

    @property
    def missing(self) -> bool:
        """Whether anything is missing without which nothing can be computed."""
        return any(item.status == "missing" for item in self.items)

    @property
    def exit_code(self) -> int:
        """0: nothing is missing; 2: the user's parameters or data cannot be used; 1: the environment is incomplete."""
        sections = {item.section for item in self.items if item.status == "missing"}
        return 0 if not sections else 1 if "environment" in sections else 2

    def to_json(self) -> str:
        """The report as JSON."""
        values = asdict(self) | {"exit_code": self.exit_code}
        return json.dumps(values, sort_keys=True, indent=2, ensure_ascii=False)
