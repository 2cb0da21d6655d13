"""The look of a face in a few numbers: enough to tell apart the people in a room, not to recognise anybody.

Measured squared distances of looks: a face against itself 0.2 s before 0.02 (median) and 0.2 (95th percentile; a film
of an actress, hands before the face included: 0.5 at most), strangers in one photograph 0.6 to 3, rendered people 0.3
to 1.5, rendered people with the same skin, hair and beard 0.03 to 0.3.

Mean looks of one person in two shots (30 rendered people, `benchmarks/likeness.py`): 0.20 (median) and 0.79 (99th
percentile), of two people 0.17 (1st percentile) and 0.74 (median). Steady looks: 0.09 and 0.35, 0.14 and 0.80.
"""

import cv2
import numpy as np

DIFFERENT = 0.25  # least squared distance of looks that tells two people apart
SAME = 0.25  # greatest squared distance from a person's look at which a face may be theirs by look alone
UNLIKE = 0.6  # squared distance beyond which a face is not theirs if it may be another person's

CROP_SIZE = 56  # pixels of an aligned crop are enough

_TOP, _BOTTOM, _LEFT, _RIGHT = 0.2, 0.98, 0.125, 0.875  # of a crop: from the brows to the chin, little background
_LAYOUT, _CHROMA = 8, 4  # cells a side
_STEADY_LAYOUT = np.array([1.2, 1.2, 1.2, 1.2, 1.2, 0.5, 0.5, 0.5], np.float32)  # by row: the mouth moves
_STEADY_CHROMA = 1.7
_DARK = 16.0  # grey levels added before logarithms: the colour of dark pixels is noise


def describe_face(crop: np.ndarray) -> np.ndarray:
    """The look (224,) float32 of an aligned (S, S, 3) uint8 RGB crop, compared by squared distance.

    Its layout (8x8 colours, shifted and scaled to mean 0 and length 1) is invariant to brightness and contrast; its
    chroma (4x4 logarithms of red and of blue over green) is invariant to brightness and tells skins apart.
    """
    top, bottom, left, right = (round(share * len(crop)) for share in (_TOP, _BOTTOM, _LEFT, _RIGHT))
    face = crop[top:bottom, left:right]
    layout = cv2.resize(face, (_LAYOUT, _LAYOUT), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    layout -= layout.mean()
    layout /= max(float(np.linalg.norm(layout)), 1e-6)
    colours = np.log(cv2.resize(face, (_CHROMA, _CHROMA), interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK)
    chroma = colours[..., [0, 2]] - colours[..., 1:2]
    return np.concatenate([layout, chroma.ravel()])


def steady_look(look: np.ndarray) -> np.ndarray:
    """What turns of the head, light from one side and speech change least in looks (..., 224); the same shape.

    Layout and chroma are averaged with their mirror images; mouth and chin count less, chroma more. People are about as
    far apart as by `describe_face`, and one person in two shots is half as far apart.
    """
    every = look.shape[:-1]
    layout = look[..., : 3 * _LAYOUT**2].reshape(*every, _LAYOUT, _LAYOUT, 3)
    chroma = look[..., 3 * _LAYOUT**2 :].reshape(*every, _CHROMA, _CHROMA, 2)
    layout = (layout + layout[..., ::-1, :]) / 2 * _STEADY_LAYOUT[:, None, None]
    chroma = (chroma + chroma[..., ::-1, :]) / 2 * _STEADY_CHROMA
    return np.concatenate([layout.reshape(*every, -1), chroma.reshape(*every, -1)], axis=-1)


def distance(look: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distance of two looks (..., K), shape (...)."""
    return ((look - other) ** 2).sum(axis=-1)


def nearer_by(look: np.ndarray, one: np.ndarray, other: np.ndarray, different: float = DIFFERENT) -> np.ndarray:
    """How much nearer looks (..., K) are to one person than to another: 1 at the first person's look, -1 at the
    other's.

    The value is 0 midway between the two, where the two look alike (squared distance below `different`), and far from
    both.
    """
    apart, to_one, to_other = distance(one, other), distance(look, one), distance(look, other)
    telling = (apart >= different) & (np.minimum(to_one, to_other) <= apart)
    return np.where(telling, (to_other - to_one) / np.maximum(apart, different), 0.0)
