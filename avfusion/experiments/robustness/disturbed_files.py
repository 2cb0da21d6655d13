"""data/robustness/<condition>.safetensors: features of one disturbed stream, of all tracks that have the stream."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from avfusion.runtime.fingerprints import arrays_digest
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.tensor_files import load_arrays, open_tensors

SUFFIX = ".safetensors"


def write_disturbed(path: Path, tracks: Mapping[str, tuple[np.ndarray, np.ndarray]], wanted: Stamp) -> None:
    """Write features (T, …) and presence (T,) by track."""
    arrays: dict[str, np.ndarray] = {}
    for name, (features, present) in sorted(tracks.items()):
        arrays |= {f"{name}/features": np.ascontiguousarray(features), f"{name}/present": present}
    save_file(arrays, path, metadata={"stamp": wanted.completed(arrays_digest(arrays)).to_json()})


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of a file."""
    with open_tensors(path) as file:
        return Stamp.from_json(file.metadata()["stamp"])


def restamp(source: Path, target: Path, stamp: Stamp) -> None:
    """Copy a file with another stamp."""
    save_file(load_arrays(source), target, metadata={"stamp": stamp.to_json()})


def read_disturbed(folder: Path, conditions: Sequence[str], track: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and presence of a track by the condition's name, as far as there are any."""
    found = {}
    for name in conditions:
        with open_tensors(folder / f"{file_name(name)}{SUFFIX}") as file:
            if f"{track}/features" in file.keys():  # noqa: SIM118
                found[name] = file.get_tensor(f"{track}/features"), file.get_tensor(f"{track}/present")
    return found


def file_name(condition: str) -> str:
    """Of a condition's file, without suffix."""
    return condition.replace(" ", "_")
