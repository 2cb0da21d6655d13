"""What a face looks like in a few numbers: enough to tell apart the people in a room, not to recognise anybody.

Squared distances of looks as measured: of a face to its own look 0.2 s before 0.02 in the median and 0.2 in the 95th
percentile (a film of an actress, hands before the face included: 0.5 at most), of strangers in one photograph 0.6 to 3,
of rendered people 0.3 to 1.5, of rendered people with the same skin, hair and beard 0.03 to 0.3.
"""

import cv2
import numpy as np

DIFFERENT = 0.25  # squared distance of two looks from which on they tell two people apart
SAME = 0.25  # squared distance of a face from somebody's look up to which it may be theirs, on its own evidence
UNLIKE = 0.6  # squared distance beyond which it is not theirs, where it could be another's

CROP_SIZE = 56  # pixels of an aligned crop are enough

_TOP, _BOTTOM, _LEFT, _RIGHT = 0.2, 0.98, 0.125, 0.875  # of a crop: from the brows to the chin, little background
_LAYOUT, _CHROMA = 8, 4  # cells a side
_DARK = 16.0  # grey levels added before logarithms: the colour of dark pixels is noise


def describe_face(crop: np.ndarray) -> np.ndarray:
    """The look (224,) float32 of an aligned (S, S, 3) uint8 RGB crop, compared by squared distance.

    Its layout (8x8 colours, shifted and scaled to mean 0 and length 1) is the same under other brightness and contrast;
    its chroma (4x4 logarithms of red and of blue over green) under other brightness, and it tells skins apart.
    """
    top, bottom, left, right = (round(share * len(crop)) for share in (_TOP, _BOTTOM, _LEFT, _RIGHT))
    face = crop[top:bottom, left:right]
    layout = cv2.resize(face, (_LAYOUT, _LAYOUT), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    layout -= layout.mean()
    layout /= max(float(np.linalg.norm(layout)), 1e-6)
    colours = np.log(cv2.resize(face, (_CHROMA, _CHROMA), interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK)
    chroma = colours[..., [0, 2]] - colours[..., 1:2]
    return np.concatenate([layout, chroma.ravel()])


def distance(look: np.ndarray, other: np.ndarray) -> float:
    """Squared distance of two looks."""
    return float(((look - other) ** 2).sum())


def nearer_by(look: np.ndarray, one: np.ndarray, other: np.ndarray, different: float = DIFFERENT) -> float:
    """How much more a look is one person's than the other's: 1 where it is the one's, -1 the other's, 0 between them.

    It is 0, too, where the two people look alike, and where the look is far from both.
    """
    apart, to_one, to_other = distance(one, other), distance(look, one), distance(look, other)
    if apart < different or min(to_one, to_other) > apart:
        return 0.0
    return (to_other - to_one) / apart
