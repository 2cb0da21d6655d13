"""What the file names of acted corpora say: who acts which category, how strongly.

- RAVDESS, `01-01-06-01-02-01-12.mp4`: modality (01 sound and picture, 02 picture, 03 sound), channel (01 speech, 02
  song), emotion, intensity (01 normal, 02 strong), statement, repetition, actor (01 to 24).
- CREMA-D, `1001_DFA_ANG_XX.flv`: actor (1001 to 1091), sentence, emotion, level (LO, MD, HI, or XX: unspecified).

Sources: S. R. Livingstone and F. A. Russo, PLoS ONE 13(5), 2018, doi:10.1371/journal.pone.0196391; H. Cao et al., IEEE
Transactions on Affective Computing 5(4), 2014, doi:10.1109/TAFFC.2014.2336244.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from avfusion.corpora.categories import category_point

_RAVDESS = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-0[12]-0[12]-([01]\d|2[0-4])", re.ASCII)
_RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
_CREMAD = re.compile(r"(10\d\d)_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)", re.ASCII)
_CREMAD_EMOTIONS = {
    **{"ANG": "angry", "DIS": "disgusted", "FEA": "fearful"},
    **{"HAP": "happy", "NEU": "neutral", "SAD": "sad"},
}
_CREMAD_STRENGTHS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}


@dataclass(frozen=True)
class ActedClip:
    """The fields of a file name; `both`: the file has sound and picture."""

    actor: str
    category: str
    strength: str
    both: bool = True

    @property
    def point(self) -> tuple[float, float]:
        """Valence and arousal of the whole clip, category-derived."""
        return category_point(self.category, self.strength)


def ravdess_clip(name: str) -> ActedClip | None:
    """The fields of a file name of RAVDESS; None if it has another form."""
    fields = _RAVDESS.fullmatch(PurePath(name).stem)
    if not fields or fields[5] == "00":
        return None
    strength = "high" if fields[4] == "02" else "medium"
    return ActedClip(f"actor_{fields[5]}", _RAVDESS_EMOTIONS[int(fields[3]) - 1], strength, fields[1] == "01")


def cremad_clip(name: str) -> ActedClip | None:
    """The fields of a file name of CREMA-D; None if it has another form."""
    fields = _CREMAD.fullmatch(PurePath(name).stem)
    if not fields or not 1001 <= int(fields[1]) <= 1091:
        return None
    return ActedClip(f"actor_{fields[1]}", _CREMAD_EMOTIONS[fields[2]], _CREMAD_STRENGTHS[fields[3]])


CLIP_NAMES: dict[str, Callable[[str], ActedClip | None]] = {"ravdess": ravdess_clip, "cremad": cremad_clip}
