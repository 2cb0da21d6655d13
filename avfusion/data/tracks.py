"""Build the table of tracks from a corpus folder and its scanned sources."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.crops import list_crops
from avfusion.corpora.layout import CorpusLayout, RawTrack
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.source_hashes import RESCAN, Source
from avfusion.corpora.sources import read_sources, without_place
from avfusion.corpora.table import Track
from avfusion.data.annotations import any_annotated, count_rows, read_usable, refuse_faults
from avfusion.data.category_labels import CATEGORY_READERS
from avfusion.data.label_coverage import NOTHING_ANNOTATED, compare_own_labels, compare_rows, label_fault
from avfusion.data.own_labels import OwnLabels, read_own_labels
from avfusion.media.probe import MediaInfo, probe
from avfusion.media.time_limits import PROBE_LIMIT_S
from avfusion.runtime.atomic import write_json
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.execution import SKIP_HINT, list_failures, raise_failures, run_tasks
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.units import unit_digest


def build_tracks(
    root: Path,
    params: CorpusSettings,
    sources: Path,
    *,
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
    cache: Path | None = None,
) -> list[Track]:
    """Describe every track of the corpus in `root`: hashes from `sources`, facts from the videos, and contradictions.

    Args:
        on_error: For unreadable videos: "skip" keeps the track with 0 frames and the reason as a warning, "fail" raises
            an error that names all such videos.
        cache: File that remembers the facts of a video by its hash.

    Raises:
        BadInputError: as `open_corpus`; files changed since the scan; own labels cannot be used, by themselves or for
            their video; or videos are unreadable.
    """
    layout = open_corpus(params, root)
    raw = layout.tracks
    scanned = read_sources(sources)
    _check_scanned(layout, scanned, root)
    own, faults = own_labels(raw, root)
    infos, failures = _probe_videos(raw, scanned, root, execution, cache)
    _refuse_unusable(raw, root, own, faults, infos)
    tracks = [
        describe_track(one, scanned, root, infos.get(one.video_path), failures.get(one.video_path), own.get(one.track))
        for one in raw
    ]
    list_failures(failures)
    if on_error == "fail":
        total = len(infos) + len(failures)
        raise_failures("corpus: videos", failures, total, hint=SKIP_HINT, error=BadInputError)
    return tracks


def shared_digest(tracks: Sequence[Track], sources: Path) -> str:
    """Hash of the scanned sources that belong to no single track: lists, manifests, the demo's truth."""
    own = {path for track in tracks for path in (track.video_path, track.labels_path)}
    own |= {f"{path}/" for track in tracks for path in track.crops_paths}
    rest = {path: source.digest for path, source in read_sources(sources).items() if path not in own}
    return fingerprint(sources=rest)


def _check_scanned(layout: CorpusLayout, scanned: Mapping[str, Source], root: Path) -> None:
    """Refuse files that are not in the scan with their current size, since hashes and files would not match."""
    files = {path for track in layout.tracks for path in (track.video_path, track.labels_path)} - {""}
    files |= set(layout.extra_sources)
    changed = {path for path in files if path not in scanned or _size(root / path) != scanned[path].size}
    changed |= {path for track in layout.tracks for path in track.crops_paths if f"{path}/" not in scanned}
    if changed:
        shown = ", ".join(sorted(changed)[:5]) + (" …" if len(changed) > 5 else "")
        raise BadInputError(f"{len(changed)} sources were added or changed since the last scan ({shown}): {RESCAN}")


def _size(path: Path) -> int:
    """Bytes of a regular file; anything else counts as empty, as in the scan."""
    return path.stat().st_size if path.is_file() else 0


def own_labels(raw: Sequence[RawTrack], root: Path) -> tuple[dict[str, OwnLabels], dict[Path, str]]:
    """Own labels by track, read since their form decides how they are compared with the frames; faults by file."""
    names = {track.track: track.labels_path for track in raw if track.labels_path and track.label_format == "csv"}
    return read_usable({name: root / path for name, path in names.items()}, read_own_labels, names)


def _refuse_unusable(
    raw: Sequence[RawTrack],
    root: Path,
    own: Mapping[str, OwnLabels],
    faults: Mapping[Path, str],
    infos: Mapping[str, MediaInfo],
) -> None:
    """Refuse own labels with faults, and those that cannot be of their video, all in one error."""
    found = dict(faults)
    for track in raw:
        labels, info = own.get(track.track), infos.get(track.video_path)
        if labels and info and (fault := label_fault(labels, info.frames, info.duration_s, track.label_delay_s)):
            found[root / track.labels_path] = f"{track.labels_path}: {fault}"
    refuse_faults(found, len({track.labels_path for track in raw if track.labels_path}))


def _probe_videos(
    raw: Sequence[RawTrack], scanned: Mapping[str, Source], root: Path, execution: ExecutionSettings, cache: Path | None
) -> tuple[dict[str, MediaInfo], dict[str, str]]:
    """Facts by video path, and reasons by failed video path."""
    paths = sorted({track.video_path for track in raw} - {""})
    remembered = read_probes(cache) if cache else {}
    infos = {path: remembered[digest] for path in paths if (digest := scanned[path].digest) in remembered}
    due = [path for path in paths if path not in infos]
    outcomes = run_tasks(
        partial(_probe_below, root),
        [(path, path) for path in due],
        executor=execution.executor,
        workers=execution.workers,
        label="probing videos",
        on_error="skip",
        limits_s=dict.fromkeys(due, PROBE_LIMIT_S),
    )
    infos |= {outcome.key: outcome.value for outcome in outcomes if outcome.value is not None}
    failures = {outcome.key: without_place(outcome.error, root, outcome.key) for outcome in outcomes if outcome.error}
    if cache:
        videos = {scanned[path].digest: asdict(info) for path, info in infos.items()}
        write_json(cache, {"code": unit_digest("probes"), "videos": videos})
    return infos, failures


def _probe_below(root: Path, path: str) -> MediaInfo:
    info = probe(root / path)
    if info.damage:
        raise BadInputError(f"{root / path} is {info.damage}: copy it again")
    return info


def read_probes(cache: Path) -> dict[str, MediaInfo]:
    """Facts from earlier runs by hash of the video; empty without a readable file of the same code."""
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        if stored.get("code") != unit_digest("probes"):
            return {}
        return {
            digest: MediaInfo(**info | {"warnings": tuple(info["warnings"])})
            for digest, info in stored["videos"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):  # the cache only saves time
        return {}


def describe_track(
    raw: RawTrack,
    scanned: Mapping[str, Source],
    root: Path,
    info: MediaInfo | None,
    failure: str | None = None,
    own: OwnLabels | None = None,
) -> Track:
    """The row of a track: hashes of its files, facts of its video, and contradictions.

    Args:
        raw: The track's files from the adapter.
        info: Facts of its video; None if unknown (the row then has 0 frames).
    """
    warnings = list(raw.warnings)
    if failure:
        warnings.append(f"unreadable video: {raw.video_path}: {failure}")
    crops = list_crops(root / path for path in raw.crops_paths)
    named = raw.label_format in CATEGORY_READERS
    written = bool(raw.labels_path) and not named
    rows = len(own) if own else count_rows(root / raw.labels_path) if written else 0
    rows = info.frames if named and info else rows
    if info:
        warnings += info.warnings
        if not info.has_audio:
            warnings.append("no audio stream: the audio is absent in every clip")
        if own:
            warnings += compare_own_labels(own, info, raw.label_delay_s)
        elif written:
            warnings += compare_rows(rows, info.frames)
            if rows and not any_annotated(root / raw.labels_path):
                warnings.append(NOTHING_ANNOTATED)
        if raw.crops_paths:
            warnings += _compare_crops(list(crops.files), info.frames)
    if crops.strays:
        warnings.append(f"{len(crops.strays)} files among the crops are no numbered images, e.g. {crops.strays[0]}")
    if crops.repeated:
        warnings.append(f"{crops.repeated} crops repeat a frame that has one")
    video_hash, crops_hash, labels_hash = source_hashes(raw, scanned)
    return Track(
        track=raw.track,
        video=raw.video,
        split=raw.split,
        video_path=raw.video_path,
        crops_paths=raw.crops_paths,
        labels_path=raw.labels_path,
        video_hash=video_hash,
        crops_hash=crops_hash,
        labels_hash=labels_hash,
        frames=info.frames if info else 0,
        fps=info.fps if info else 0.0,
        duration_s=info.duration_s if info else 0.0,
        has_audio=bool(info and info.has_audio),
        label_rows=rows,
        crops=len(crops.files),
        warnings=tuple(warnings),
        label_format=raw.label_format,
        label_delay_s=raw.label_delay_s,
        side=raw.side,
        group=raw.group,
        attributes=raw.attributes,
    )


def source_hashes(raw: RawTrack, scanned: Mapping[str, Source]) -> tuple[str, str, str]:
    """Hashes of a track's video, crops and labels; "" for a missing one."""
    paths = [raw.video_path], [f"{path}/" for path in raw.crops_paths], [raw.labels_path]
    video, crops, labels = (_digest(scanned, some) for some in paths)
    return video, crops, labels


def _digest(scanned: Mapping[str, Source], paths: Sequence[str]) -> str:
    """Hash of one source, or of several in order (the earlier crop folder wins, so the order matters)."""
    return "+".join(scanned[path].digest for path in paths if path)


def _compare_crops(numbers: list[int], frames: int) -> list[str]:
    inside = sum(number <= frames for number in numbers)
    found = []
    if beyond := len(numbers) - inside:
        found.append(f"{beyond} crops beyond the last of {frames} video frames are not used")
    if 2 * inside < frames:  # some frames without a face are normal
        found.append(f"{frames - inside} of {frames} video frames have no crop")
    return found
