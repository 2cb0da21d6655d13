"""Features of all tracks as one table: on the device if they fit, else read row by row from where they are."""

import math
from collections.abc import Sequence

import numpy as np
import torch

SHARE = 0.5  # of a GPU's free memory for one table; the other stream, the model and its batches need the rest


class MappedFeatures:
    """The clips of all tracks as one table (N, …) over the tracks' own arrays, in memory or in files.

    Rows are read as from a tensor: `table[at]`. At stride 1 Aff-Wild2's maps take 105 GB; the operating system keeps as
    many in memory as fit.

    Args:
        tracks: (T, …) arrays of one dtype and, after T, one shape; maps are memory-mapped (`read_features`).
    """

    def __init__(self, tracks: Sequence[np.ndarray], device: str = "cpu") -> None:
        self._tracks, self._device = tracks, device
        self._ends = np.cumsum([len(track) for track in tracks])

    @property
    def shape(self) -> tuple[int, ...]:
        """As a tensor's."""
        return len(self), *self._tracks[0].shape[1:]

    @property
    def ndim(self) -> int:
        """As a tensor's."""
        return len(self.shape)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, at: torch.Tensor) -> torch.Tensor:
        """Rows by their numbers (any shape): a tensor of that shape, followed by the shape of rows."""
        rows = at.cpu().numpy()
        found = np.empty((*rows.shape, *self.shape[1:]), self._tracks[0].dtype)
        owner = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(owner):
            here = owner == number
            found[here] = self._tracks[number][rows[here] - (self._ends[number] - len(self._tracks[number]))]
        return torch.from_numpy(found).to(self._device)


def feature_table(
    tracks: Sequence[np.ndarray], device: str = "cpu", free: float | None = None
) -> torch.Tensor | MappedFeatures:
    """The features of all tracks, concatenated: a tensor on `device` if there is room, else `MappedFeatures`.

    Args:
        tracks: (T, D) vectors, or (T, C, H, W) maps, which always stay in their files.
        free: free bytes on `device`; None: ask it (a CPU has the vectors in memory already).
    """
    if tracks[0].ndim > 2:
        return MappedFeatures(tracks, device)
    whole = joined(tracks)
    if whole.nbytes > SHARE * (_free_memory(device) if free is None else free):
        return MappedFeatures([whole], device)
    return torch.from_numpy(whole).to(device)


def _free_memory(device: str) -> float:
    return torch.cuda.mem_get_info(device)[0] if torch.device(device).type == "cuda" else math.inf


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays concatenated: their common base if they are its parts (`load_split`), else a copy."""
    whole = arrays[0].base
    if whole is None or whole.shape[1:] != arrays[0].shape[1:] or whole.dtype != arrays[0].dtype:
        return np.concatenate(arrays)
    address, place = whole.__array_interface__["data"][0], 0
    for array in arrays:
        here = array.__array_interface__["data"][0] - address
        if array.base is not whole or not array.flags.c_contiguous or here != place:
            return np.concatenate(arrays)
        place += array.nbytes
    return whole if place == whole.nbytes else np.concatenate(arrays)
