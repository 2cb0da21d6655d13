"""Category-derived labels: one point of the plane for a whole clip, said by its file name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from avfusion.corpora.acted_names import CLIP_NAMES
from avfusion.data.annotations import AnnotationError
from avfusion.data.labels import LabelTable


@dataclass(frozen=True)
class ClipLabel:
    """Valence and arousal, in [-1, 1], of all frames of a clip."""

    valence: float
    arousal: float

    def repeated(self, frames: int) -> LabelTable:
        """The labels of `frames` frames."""
        valence, arousal = (np.full(frames, value, np.float32) for value in (self.valence, self.arousal))
        return LabelTable(valence, arousal, np.ones(frames, bool))


def read_clip_label(corpus: str, path: Path, name: str | None = None) -> ClipLabel:
    """The label of a clip of `corpus`; the file is not opened.

    Args:
        name: Name of the file in messages (default: the path).

    Raises:
        AnnotationError: the corpus has no files of such a name.
    """
    clip = CLIP_NAMES[corpus](path.name)
    if clip is None:
        raise AnnotationError(f"{name or path} says no emotion: it is no name of a clip of {corpus}")
    return ClipLabel(*clip.point)


CATEGORY_READERS: dict[str, Callable[[Path, str | None], ClipLabel]] = {
    corpus: partial(read_clip_label, corpus) for corpus in CLIP_NAMES
}
