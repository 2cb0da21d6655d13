"""Check the corpus: missing files, contradictions, changes since the scan."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avfusion.corpora.adapters import corpus_root, open_corpus
from avfusion.corpora.attributes import describe_attributes
from avfusion.corpora.groups import describe_groups
from avfusion.corpora.layout import CorpusLayout, RawTrack
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import MEMORY, RESCAN, Source
from avfusion.corpora.sources import compare, describe_sources, read_sources
from avfusion.corpora.switching import removed_files
from avfusion.corpora.table import Track, read_shared_digest, read_tracks
from avfusion.data.label_coverage import label_fault, labels_nothing
from avfusion.data.label_store import READERS
from avfusion.data.own_labels import VALUES, OwnLabels
from avfusion.data.tracks import describe_track, read_probes, shared_digest, source_hashes
from avfusion.data.trainable import ONLY_READ, is_unlabelled, training_faults
from avfusion.doctor.report import Item, SplitFacts
from avfusion.doctor.workload import has_row_per_frame
from avfusion.experiments.stage import FAILURES
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.quantities import byte_size, counted

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CorpusState:
    """Facts about a corpus without decoding a video or an image.

    Attributes:
        tracks: A row per track: from the table of the stage `corpus` if its sources are unchanged, else from the files'
            names and the last reading of the video.
        known: Names of the tracks whose video has been read; `frames` is 0 if it is unreadable.
    """

    tracks: tuple[Track, ...]
    known: frozenset[str]
    sizes: dict[str, int]
    current: bool
    own: Mapping[str, OwnLabels]


def look_at_corpus(root: Path, params: CorpusSettings) -> tuple[CorpusState | None, list[Item]]:
    """Examine the raw data, the scan and the table of tracks of the project in `root`."""
    folder = corpus_root(root, params)
    try:
        layout = open_corpus(params, folder)
        sources = describe_sources(layout, folder, root / MEMORY)
    except BadInputError as error:
        return None, [Item("corpus", params.name, "missing", str(error))]
    except OSError as error:
        reason = f"{error.filename} cannot be read: {error.strerror}"
        return None, [Item("corpus", params.name, "missing", reason)]
    scan = _scan_state(root, layout, sources)
    own, faults = _read_labels(folder, layout)
    state, table = _state(root, folder, layout, sources, own, scanned=scan.status == "ok")
    labels = _label_item(state, faults)
    items = [
        *_training(state, params.name),
        *_split_items(state),
        *_groups(layout),
        *_attributes(layout),
        *_no_files(folder, layout),
        labels,
        scan,
        table,
    ]
    items += _failures(root)
    if note := removed_files(root, params, layout.tracks):
        items.append(Item("corpus", "other corpus", "warn", note))
    items += [Item("corpus", "left out", "ok", note) for note in layout.notes]
    return state, items


def split_facts(state: CorpusState) -> dict[str, SplitFacts]:
    """Numbers of tracks by split; the three official splits are always present."""
    extra = sorted({track.split for track in state.tracks} - set(SPLITS))
    groups = {split: [track for track in state.tracks if track.split == split] for split in (*SPLITS, *extra)}
    return {split: _facts(tracks, state) for split, tracks in groups.items()}


def _facts(tracks: Sequence[Track], state: CorpusState) -> SplitFacts:
    seen = [track for track in tracks if track.frames]
    return SplitFacts(
        tracks=len(tracks),
        videos=len({track.video for track in tracks}),
        frames=sum(track.frames for track in seen),
        no_video=sum(not track.video_path for track in tracks),
        unreadable=sum(bool(t.video_path) and not t.frames and t.track in state.known for t in tracks),
        no_crops=sum(bool(track.video_path) and not track.crops_paths for track in tracks),
        rows_disagree=sum(has_row_per_frame(track) and track.label_rows != track.frames for track in seen),
        warned=sum(bool(track.warnings) for track in tracks),
    )


def _training(state: CorpusState, corpus: str) -> list[Item]:
    """What the stage `corpus` will refuse; for a corpus without labels, the stage `labels`."""
    if is_unlabelled(state.tracks):
        return [Item("corpus", "training", "warn", ONLY_READ)]
    unreadable = {track.track for track in state.tracks if not track.frames and track.track in state.known}
    bare = {track.track for track in state.tracks if labels_nothing(track.warnings)}
    faults = training_faults(state.tracks, corpus, unreadable, bare)
    text = (
        f"no model can be trained: {faults[0]}"
        if len(faults) == 1
        else "\n".join(["no model can be trained:", *faults])
    )
    return [Item("corpus", "training", "missing", text)] if faults else []


def _split_items(state: CorpusState) -> list[Item]:
    items = []
    for split, facts in split_facts(state).items():
        remarks = {
            "without their video": facts.no_video,
            "unreadable": facts.unreadable,
            "without crops (faces will be detected)": facts.no_crops,
            "with more or fewer label rows than frames": facts.rows_disagree,
        }
        text = f"{counted(facts.tracks, 'track')} of {counted(facts.videos, 'video')}"
        text += "".join(f"; {count} {what}" for what, count in remarks.items() if count)
        bad = facts.no_video or facts.unreadable or not facts.tracks
        items.append(Item("corpus", split or "no split", "warn" if bad else "ok", text))
    return items


def _groups(layout: CorpusLayout) -> list[Item]:
    """The groups that join videos; those that cross splits."""
    several, crossing = describe_groups(layout.tracks)
    items = [Item("corpus", "groups", "ok", several)] if several else []
    return items + ([Item("corpus", "groups", "warn", crossing)] if crossing else [])


def _attributes(layout: CorpusLayout) -> list[Item]:
    """The categories of each attribute of people."""
    return [
        Item("corpus", f"attribute {name}", "warn" if odd else "ok", f"{text}; {odd}" if odd else text)
        for name, (text, odd) in describe_attributes(layout.tracks).items()
    ]


def _no_files(folder: Path, layout: CorpusLayout) -> list[Item]:
    """Videos that are not regular files: the stage `corpus` will refuse them."""
    paths = sorted({track.video_path for track in layout.tracks} - {""})
    odd = [path for path in paths if not (folder / path).is_file()]
    text = f"{len(odd)} are no regular files, or broken links: {', '.join(odd)}"
    return [Item("corpus", "videos", "warn", text)] if odd else []


def _read_labels(folder: Path, layout: CorpusLayout) -> tuple[dict[str, OwnLabels], dict[str, str]]:
    """Own labels by track, and faults by annotation file, for which the stages `corpus` and `labels` will refuse it."""
    labelled = [track for track in layout.tracks if track.labels_path]
    own: dict[str, OwnLabels] = {}
    faults: dict[str, str] = {}
    for track in labelled:
        try:
            labels = READERS[track.label_format](folder / track.labels_path, track.labels_path)
        except BadInputError as error:
            faults[track.labels_path] = str(error)
            continue
        if isinstance(labels, OwnLabels):
            own[track.track] = labels
    return own, faults


def _label_item(state: CorpusState, faults: Mapping[str, str]) -> Item:
    """The unusable annotation files; those that cannot be of their video are known once the video has been read."""
    files = {track.labels_path for track in state.tracks if track.labels_path}
    found = dict(faults)
    for track in state.tracks:
        if track.frames and track.track in state.own:
            fault = label_fault(state.own[track.track], track.frames, track.duration_s, track.label_delay_s)
            found |= {track.labels_path: f"{track.labels_path}: {fault}"} if fault else {}
    if found:
        lines = [f"{len(found)} of {counted(len(files), 'annotation file')} cannot be used:", *found.values()]
        return Item("corpus", "labels", "missing", "\n".join(lines))
    text = f"{counted(len(files), 'annotation file')} can be read"
    if positive := _never_negative(state.own.values()):
        text += f"; no {' or '.join(positive)} in them is below 0: a scale from 0 to 1 has to be rescaled to [-1, 1]"
    return Item("corpus", "labels", "warn" if positive else "ok", text)


def _never_negative(labels: Iterable[OwnLabels]) -> list[str]:
    """The targets that are nowhere below 0, and somewhere above, in several files of own labels."""
    values = [one.values for one in labels if one.valid.any()]
    if len(values) < 2:
        return []
    least = np.min([np.nanmin(some, axis=0) for some in values], axis=0)
    most = np.max([np.nanmax(some, axis=0) for some in values], axis=0)
    return [name for at, name in enumerate(VALUES) if least[at] >= 0 < most[at]]


def _failures(root: Path) -> list[Item]:
    """Tracks and videos that failed in the last run of a stage, which stopped or skipped them."""
    items = []
    for stage in ("corpus", "labels", "frames", "audio", "features"):
        try:
            failed = json.loads((root / ".avfusion" / stage / FAILURES).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not run yet
            continue
        if failed:
            lines = [f"{len(failed)} failed when it last ran:"]
            lines += [f"{key}: {reason}" for key, reason in sorted(failed.items())]
            items.append(Item("corpus", f"stage {stage}", "warn", "\n".join(lines)))
    return items


def _scan_state(root: Path, layout: CorpusLayout, sources: Mapping[str, Source]) -> Item:
    try:
        scanned = read_sources(root / "data" / "sources.txt")
    except BadInputError as error:
        return Item("corpus", "scan", "missing", str(error))
    summary = compare(layout, sources, scanned)
    if summary.same:
        return Item(
            "corpus", "scan", "ok", f"{counted(summary.sources, 'source')} as scanned, {byte_size(summary.bytes)}"
        )
    counts = f"{len(summary.added)} added, {len(summary.removed)} removed, {len(summary.changed)} changed"
    names = ", ".join([*summary.added, *summary.removed, *summary.changed])
    return Item("corpus", "scan", "warn", f"{counts} since the last scan, {RESCAN}: {names}")


def _state(
    root: Path,
    folder: Path,
    layout: CorpusLayout,
    sources: Mapping[str, Source],
    own: Mapping[str, OwnLabels],
    *,
    scanned: bool,
) -> tuple[CorpusState, Item]:
    """The current tracks, and whether the table of tracks matches the current sources.

    Args:
        scanned: data/sources.txt matches the current sources.
    """
    path = root / "data" / "corpus" / "tracks.parquet"
    rows, shared, fault = {}, "", "not made yet: run `dvc repro`"
    if path.is_file():
        try:
            rows = {row.track: row for row in read_tracks(path, unusable=True)}
            shared, fault = read_shared_digest(path), ""
        except AVFusionError as error:
            fault = str(error)
    probes = read_probes(root / ".avfusion" / "corpus" / "probes.json")
    tracks, known, same = [], set(), 0
    for raw in layout.tracks:
        row = rows.get(raw.track)
        if row and _same_sources(row, raw, sources):
            same += 1
            known.add(raw.track)
            # Warnings from names may have changed with another track's files.
            tracks.append(_with_warnings(row, raw.warnings))
        else:
            info = probes.get(sources[raw.video_path].digest) if raw.video_path else None
            tracks.append(describe_track(raw, sources, folder, info, own=own.get(raw.track)))
            known |= {raw.track} if info else set()
    current = scanned and same == len(rows) == len(layout.tracks)
    current = current and shared == shared_digest(tracks, root / "data" / "sources.txt")
    sizes = {name: source.size for name, source in sources.items()}
    if not fault and not current:
        fault = "made from other sources than the current ones: `dvc repro` remakes it"
    text = fault or f"{counted(len(rows), 'track')}, from the current sources"
    item = Item("corpus", "table of tracks", "warn" if fault else "ok", text)
    return CorpusState(tuple(tracks), frozenset(known), sizes, current, own), item


def _same_sources(row: Track, raw: RawTrack, sources: Mapping[str, Source]) -> bool:
    """Whether a row of the table was made from the same files with the same contents."""
    names = ("video", "split", "video_path", "crops_paths", "labels_path", "label_format", "label_delay_s")
    same = all(getattr(row, name) == getattr(raw, name) for name in (*names, "group", "attributes"))
    return same and (row.video_hash, row.crops_hash, row.labels_hash) == source_hashes(raw, sources)


def _with_warnings(row: Track, present: Sequence[str]) -> Track:
    return replace(row, warnings=tuple(dict.fromkeys((*present, *row.warnings))))
