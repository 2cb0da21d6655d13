"""Describe how a result made anew differs from the kept one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ARRAYS = ("clip_end", "audio", "visual", "audio_present", "visual_present")


def array_differences(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> list[str]:
    """A line per array that differs: the largest absolute difference and where it is, from 0."""
    return [line for name in old for line in _difference(name, np.asarray(old[name]), np.asarray(new[name]))]


def _difference(name: str, old: np.ndarray, new: np.ndarray) -> Iterator[str]:
    if old.shape != new.shape:
        yield f"{name}: shape {old.shape}, now {new.shape}"
        return
    if old.dtype != new.dtype:
        yield f"{name}: {old.dtype}, now {new.dtype}"
        return
    before, after = old.astype(np.float64), new.astype(np.float64)
    unequal = (before != after) & ~(np.isnan(before) & np.isnan(after))
    if not unequal.any():
        return
    size = np.where(unequal, np.nan_to_num(np.abs(before - after), nan=np.inf), -1.0)  # a NaN against a number
    at = np.unravel_index(int(np.argmax(size)), size.shape)
    place = ", ".join(map(str, map(int, at)))
    yield (
        f"{name}: {int(unequal.sum())} of {size.size} values, by {size[at]:.3g} at most "
        f"(at [{place}]: {before[at]:.8g}, now {after[at]:.8g})"
    )


def label_differences(old: Path, new: Path) -> list[str]:
    """Compare two label files."""
    from avfusion.data.labels import read_labels

    return array_differences(vars(read_labels(old)), vars(read_labels(new)))


def audio_differences(old: Path, new: Path) -> list[str]:
    """Compare two WAV files."""
    from avfusion.data.audio import read_audio

    return array_differences({"samples": read_audio(old)}, {"samples": read_audio(new)})


def feature_differences(old: Path, new: Path) -> list[str]:
    """Compare two feature files."""
    from avfusion.data.features import read_features

    before, after = read_features(old), read_features(new)
    return array_differences(*({name: getattr(table, name) for name in ARRAYS} for table in (before, after)))


def disturbed_differences(old: Path, new: Path) -> list[str]:
    """Compare two files of disturbed features."""
    from avfusion.runtime.tensor_files import load_arrays

    before, after = load_arrays(old), load_arrays(new)
    if before.keys() != after.keys():
        return [f"tracks: {', '.join(sorted(before.keys() ^ after.keys()))} are in one of both alone"]
    return array_differences(before, after)


def frame_differences(old: Path, new: Path) -> list[str]:
    """Compare two frame tables, crop by crop."""
    from avfusion.data.frames import CropFile, decode_crops, read_face_confidence, read_frame_times

    def columns(path: Path) -> dict[str, np.ndarray]:
        return {"time_s": read_frame_times(path), "face_confidence": read_face_confidence(path)}

    found = array_differences(columns(old), columns(new))
    if any("shape" in line for line in found):
        return found
    faces, bytes_alone, most, where = 0, 0, 0, 0
    with CropFile(old) as before, CropFile(new) as after:
        for row in range(len(before)):
            one, other = before[row], after[row]
            if one == other:
                continue
            if one is None or other is None:
                faces += 1
                continue
            pixels = decode_crops([one, other]).astype(int)
            by = int(np.abs(pixels[0] - pixels[1]).max())
            bytes_alone += by == 0
            if by > most:
                most, where = by, row
    if faces:
        found.append(f"jpeg: {faces} frames have a crop in one of both alone")
    if most:
        found.append(f"jpeg: pixels differ by {most} of 255 at most (frame {where + 1})")
    if bytes_alone:
        found.append(f"jpeg: {bytes_alone} crops have other bytes and the same pixels")
    return found


def video_differences(task: Any, content: str, folder: Path) -> list[str]:
    """Render a demo video again in `folder` and compare its files with the kept ones."""
    from avfusion.corpora.demo.video_files import write_files
    from avfusion.runtime.fingerprints import file_digest, folder_digest

    moves = write_files(task, folder)
    if folder_digest(folder)[:32] == content:
        return []
    found = []
    for new, kept in moves:
        digest = folder_digest if new.is_dir() else file_digest
        if not kept.exists() or digest(kept) != digest(new):
            found.append(f"{kept.relative_to(task.root)} differs")
    return found or ["the files differ"]
