"""A model's scores as sums per group of videos: kept, so that a later model can be compared with it in pairs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avfusion.scoring.intervals import interval
from avfusion.scoring.metrics import WEIGHTS, target_sums, valid_pairs
from avfusion.scoring.track_predictions import TrackPredictions

MEAN = WEIGHTS["mean"]


@dataclass(frozen=True)
class KeptSums:
    """Sums of a model's predictions and of the labels on one split.

    Attributes:
        digest: of the model.
        groups: names of the G groups of videos with valid frames, sorted.
        sums: (2, G, 6) of valence and arousal: n, Σx, Σy, Σx², Σy², Σxy with predictions x and labels y.
    """

    digest: str
    groups: tuple[str, ...]
    sums: np.ndarray

    @classmethod
    def of(cls, tracks: Sequence[TrackPredictions], model: str, digest: str) -> "KeptSums":
        """The sums of a model's predictions over the valid frames of tracks."""
        scored = [track for track in tracks if track.valid.any()]
        names = tuple(sorted({track.group for track in scored}))
        return cls(digest, names, target_sums(*valid_pairs(scored, model)) if scored else np.zeros((2, 0, 6)))

    @classmethod
    def read(cls, text: str) -> "KeptSums | None":
        """What `text` gave; None if the text is of another form."""
        try:
            found = json.loads(text)
            groups, sums = tuple(map(str, found["groups"])), np.array(found["sums"], dtype=np.float64)
            digest = str(found["model_digest"])
        except (ValueError, KeyError, TypeError):
            return None
        return cls(digest, groups, sums) if sums.shape == (2, len(groups), 6) else None

    def content(self) -> dict[str, Any]:
        """The sums for JSON."""
        return {"model_digest": self.digest, "groups": list(self.groups), "sums": self.sums.tolist()}

    def same_frames(self, other: "KeptSums") -> bool:
        """Whether both are of the same groups with as many frames, and labels of the same sums."""
        labels = [0, 2, 4]  # n, Σy, Σy²
        return self.groups == other.groups and np.allclose(
            self.sums[..., labels], other.sums[..., labels], rtol=1e-6, atol=1e-4
        )


def paired_interval(new: KeptSums, old: KeptSums) -> tuple[float, float] | None:
    """Paired 95 % interval, clustered on groups, of the mean CCC of `new` less that of `old` on the same frames.

    None with too few groups.
    """
    signed = (*MEAN, *(-weight for weight in MEAN))
    return interval(np.concatenate([new.sums, old.sums]), signed, fisher=False)
