"""What a difference between two models says, in words. All pages, tables and commands take their words from here."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

LEVEL = 0.05


class Verdict(StrEnum):
    """What may be said of a model and another; the value stands in tables."""

    BETTER = "better"
    WORSE = "worse"
    AHEAD = "ahead in this one training"
    BEHIND = "behind in this one training"
    MAY_BE_LUCK = "may be luck"
    TOO_FEW_VIDEOS = "too few videos"
    NOT_SCORED = "not scored"


SENTENCES = {
    Verdict.BETTER: "It is better than {}.",
    Verdict.WORSE: "It is worse than {}.",
    Verdict.AHEAD: "In this one training it is ahead of {}.",
    Verdict.BEHIND: "In this one training it is behind {}.",
    Verdict.MAY_BE_LUCK: "The difference to {} may be luck.",
    Verdict.TOO_FEW_VIDEOS: "The videos are too few to compare it with {}.",
}
ONE_TRAINING = "Another seed may decide otherwise: avfusion compare --seeds 0,1,2 trains three."


def verdict(entry: Mapping[str, Any], *, seeds: int) -> Verdict:
    """Judge a difference, the first model minus the second.

    Only an interval over several seeds speaks of the methods. Of several comparisons with one reference, `p_holm`
    decides, so that one in twenty is not taken for a finding.

    Args:
        entry: `difference`, `ci95` (None without an interval), and `p_holm` where it is one of several comparisons.
        seeds: number of trainings behind each model.
    """
    if entry["difference"] is None:
        return Verdict.NOT_SCORED
    if not entry["ci95"]:
        return Verdict.TOO_FEW_VIDEOS
    low, high = entry["ci95"]
    p = entry.get("p_holm")
    if low <= 0 <= high or (p is not None and p >= LEVEL):
        return Verdict.MAY_BE_LUCK
    if seeds > 1:
        return Verdict.BETTER if low > 0 else Verdict.WORSE
    return Verdict.AHEAD if low > 0 else Verdict.BEHIND


def verdict_sentences(entries: Mapping[str, Mapping[str, Any]], *, seeds: int) -> list[str]:
    """The differences of a model ("it") from others, by their titles, in sentences; none of what was not scored."""
    judged: dict[Verdict, list[str]] = {}
    for title, entry in entries.items():
        judged.setdefault(verdict(entry, seeds=seeds), []).append(f"{title}{_signed(entry)}")
    said = [SENTENCES[kind].format(listed(judged[kind])) for kind in SENTENCES if kind in judged]
    return said + ([ONE_TRAINING] if {Verdict.AHEAD, Verdict.BEHIND} & judged.keys() else [])


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _signed(entry: Mapping[str, Any]) -> str:
    return "" if entry["difference"] is None else f" ({entry['difference']:+.2f})"
