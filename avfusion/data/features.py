"""Feature files: one vector (or map) per clip and stream, with presence and the spec that made them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from avfusion.data.feature_spec import FeatureSpec
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.fingerprints import arrays_digest
from avfusion.runtime.stamps import UNSTAMPED, Stamp
from avfusion.runtime.tensor_files import open_tensors

# One key: safetensors writes several in random order, and equal features must be equal bytes.
METADATA_KEY = "avfusion"


@dataclass(frozen=True)
class FeatureTable:
    """Features of one track's T clips.

    Attributes:
        clip_end: (T,) int32, video frame (from 1) at which the clip ends.
        audio: (T, D_a) float16; zeros where absent.
        visual: (T, D_v) or (T, D_v, H, W) float16; zeros where absent.
        audio_present, visual_present: (T,) bool.
        content: digest of the arrays, from the file's stamp; empty for a table that was not read from a file.
        out_of_fold: SHA-256 of the weights by stream, if they belong not to the spec but to a fold that never saw the
            track.
    """

    clip_end: np.ndarray
    audio: np.ndarray
    visual: np.ndarray
    audio_present: np.ndarray
    visual_present: np.ndarray
    feature_spec: FeatureSpec
    content: str = ""
    out_of_fold: dict[str, str] | None = None


_ARRAYS = {
    "clip_end": np.int32,
    "audio": np.float16,
    "visual": np.float16,
    "audio_present": np.bool_,
    "visual_present": np.bool_,
}


def write_features(path: str | Path, table: FeatureTable, wanted: Stamp = UNSTAMPED) -> None:
    """Write a feature file with its stamp; equal tables give equal bytes.

    Raises:
        AVFusionError: a feature is NaN or infinite (also: beyond the range of float16), or lengths differ.
    """
    arrays: dict[str, np.ndarray] = {
        name: np.ascontiguousarray(getattr(table, name), dtype=kind) for name, kind in _ARRAYS.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise AVFusionError(f"features of {Path(path).name} differ in length: {lengths}")
    refuse_not_finite(arrays["audio"], arrays["visual"], Path(path).name)
    stamp = wanted.completed(arrays_digest(arrays))
    spec = table.feature_spec.to_dict() | {"code": stamp.code}
    metadata: dict[str, Any] = {"feature_spec": spec, "stamp": stamp.to_dict()}
    if table.out_of_fold:
        metadata["out_of_fold"] = table.out_of_fold
    save_file(arrays, path, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def refuse_not_finite(audio: np.ndarray, visual: np.ndarray, name: str) -> None:
    """Refuse features (T, …) that cannot be stored.

    Raises:
        AVFusionError: a feature is NaN or infinite (also: beyond the range of float16).
    """
    for stream, features in (("audio", audio), ("visual", visual)):
        finite = np.isfinite(features).reshape(len(features), -1).all(axis=1)
        if not finite.all():
            clip = int(np.argmin(finite))
            raise AVFusionError(f"{stream} feature of clip {clip + 1} is NaN or infinite in {name}")


def read_features(path: str | Path) -> FeatureTable:
    """Read a feature file. Visual maps, which may exceed memory, are memory-mapped and read on access.

    Raises:
        AVFusionError: the file is missing, not a feature file, or of another version.
    """
    metadata = _metadata(path)
    with open_tensors(path) as file:
        missing = _ARRAYS.keys() - set(file.keys())
        if missing:
            raise AVFusionError(f"{path} lacks {', '.join(sorted(missing))}: run the features stage again")
        maps = ["visual"] if len(file.get_slice("visual").get_shape()) > 2 else []
        arrays = {name: file.get_tensor(name) for name in _ARRAYS if name not in maps}
    arrays |= {name: _mapped(Path(path), name) for name in maps}
    return FeatureTable(
        **arrays,
        feature_spec=FeatureSpec.from_dict(metadata["feature_spec"]),
        content=Stamp.from_dict(metadata["stamp"]).content,
        out_of_fold=metadata.get("out_of_fold"),
    )


def _mapped(path: Path, name: str) -> np.ndarray:
    """A memory-mapped array; writing to it changes neither the file nor other mappings."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    start, stop = entry["data_offsets"]
    if stop == start:  # nothing to map
        return np.zeros(entry["shape"], _ARRAYS[name])
    return np.memmap(path, _ARRAYS[name], "c", offset=8 + length + start, shape=tuple(entry["shape"]))


def feature_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Shapes of `audio` and `visual` in a feature file, without reading them.

    Raises:
        AVFusionError: not a feature file.
    """
    _metadata(path)
    with open_tensors(path) as file:
        names = [name for name in ("audio", "visual") if name in file.keys()]  # noqa: SIM118
        return {name: tuple(file.get_slice(name).get_shape()) for name in names}


def read_stamp(path: str | Path) -> Stamp | None:
    """The stamp of a feature file.

    Raises:
        AVFusionError: not a feature file.
        KeyError, TypeError: it has no stamp.
    """
    return Stamp.from_dict(_metadata(path)["stamp"])


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a feature file with another stamp; the bytes of the arrays are copied unread."""
    with source.open("rb") as old, target.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        metadata = json.loads(header["__metadata__"][METADATA_KEY]) | {"stamp": stamp.to_dict()}
        metadata["feature_spec"]["code"] = stamp.code
        header["__metadata__"][METADATA_KEY] = json.dumps(metadata, sort_keys=True)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight bytes
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new, 1 << 20)


def _metadata(path: str | Path) -> dict[str, Any]:
    try:
        with open_tensors(path) as file:
            return dict(json.loads((file.metadata() or {})[METADATA_KEY]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise AVFusionError(f"{path} is not a feature file ({error}): run the features stage again") from None
