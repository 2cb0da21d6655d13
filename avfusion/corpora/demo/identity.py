"""A person's looks: proportions, skin, hair and clothes, drawn from natural ranges.

Everything is in canonical face units: one unit is the distance between the eyes' centres; x to the viewer's right,
y down, the origin midway between the eyes.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""Blue, green, red in 0..255, as OpenCV orders them."""

SKIN_RGB = (
    (244, 214, 192),
    (236, 196, 168),
    (224, 178, 146),
    (205, 155, 120),
    (182, 130, 96),
    (156, 108, 78),
    (132, 90, 66),
)
HAIR_RGB = (
    (40, 32, 30),
    (58, 42, 34),
    (84, 60, 44),
    (110, 80, 54),
    (150, 116, 76),
    (178, 148, 104),
    (128, 124, 122),
    (96, 54, 38),
)
IRIS_RGB = ((74, 52, 38), (94, 68, 46), (86, 98, 76), (88, 110, 128), (70, 84, 96))
CLOTH_RGB = ((52, 60, 74), (92, 96, 102), (122, 108, 96), (70, 84, 78), (104, 74, 76), (150, 146, 138), (64, 72, 98))
HAIRSTYLES = ("short", "side", "bob", "long", "bun", "cropped")


@dataclass(frozen=True)
class Identity:
    """One person's looks; lengths in interocular units, colours in BGR."""

    skin: Colour
    hair: Colour
    iris: Colour
    cloth: Colour
    hairstyle: str
    face_half_width: float
    chin: float
    jaw: float
    eye_half_width: float
    eye_half_height: float
    brow_thickness: float
    nose_half_width: float
    nose_length: float
    mouth_half_width: float
    mouth_y: float
    lip_thickness: float
    lip_redness: float
    beard: float
    glasses: bool


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person; every length varies by some percent, so that no two people look alike."""
    skin_index = int(rng.integers(len(SKIN_RGB)))
    dark_hair = skin_index >= 4
    hair = HAIR_RGB[int(rng.integers(3 if dark_hair else len(HAIR_RGB)))]
    style = str(rng.choice(HAIRSTYLES))
    bearded = style in ("short", "side", "cropped") and rng.random() < 0.35
    return Identity(
        skin=_vary(rng, SKIN_RGB[skin_index], 5.0),
        hair=_vary(rng, hair, 5.0),
        iris=_vary(rng, IRIS_RGB[int(rng.integers(2 if dark_hair else len(IRIS_RGB)))], 4.0),
        cloth=_vary(rng, CLOTH_RGB[int(rng.integers(len(CLOTH_RGB)))], 8.0),
        hairstyle=style,
        face_half_width=float(rng.normal(1.10, 0.035)),
        chin=float(rng.normal(1.86, 0.05)),
        jaw=float(rng.uniform(0.70, 0.88)),
        eye_half_width=float(rng.normal(0.245, 0.012)),
        eye_half_height=float(rng.normal(0.105, 0.006)),
        brow_thickness=float(rng.uniform(0.055, 0.095)),
        nose_half_width=float(rng.normal(0.20, 0.02)),
        nose_length=float(rng.normal(0.60, 0.03)),
        mouth_half_width=float(rng.normal(0.41, 0.02)),
        mouth_y=float(rng.normal(1.16, 0.03)),
        lip_thickness=float(rng.uniform(0.065, 0.105)),
        lip_redness=float(rng.uniform(0.25, 0.65)),
        beard=float(rng.uniform(0.25, 0.6)) if bearded else 0.0,
        glasses=bool(rng.random() < 0.15),
    )


def _vary(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float) -> Colour:
    red, green, blue = np.clip(np.array(rgb) + rng.normal(0.0, spread) + rng.normal(0.0, 0.4 * spread, 3), 8, 250)
    return float(blue), float(green), float(red)
