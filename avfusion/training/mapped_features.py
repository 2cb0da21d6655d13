"""Features that stay in their files: a table of many tracks' visual maps, of which only what is asked for is read."""

from collections.abc import Sequence

import numpy as np
import torch


class MappedFeatures:
    """The clips of all tracks as one table (N, …), without a copy of them in memory.

    It is read as a tensor is, by rows: `table[at]`. At stride 1 Aff-Wild2's maps take 105 GB; the operating system
    keeps as many of them in memory as there is room.

    Args:
        tracks: (T, …) arrays of one shape behind T and one dtype, mapped on their files (`read_features`).
        device: where rows go.
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
        """Rows by their numbers (any shape): a tensor of that shape and the rows' own behind it."""
        rows = at.cpu().numpy()
        found = np.empty((*rows.shape, *self.shape[1:]), self._tracks[0].dtype)
        owner = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(owner):
            here = owner == number
            found[here] = self._tracks[number][rows[here] - (self._ends[number] - len(self._tracks[number]))]
        return torch.from_numpy(found).to(self._device)
