"""Names of backbones and of their weights, for checking parameters without importing torch.

They stand in the registry too (`avfusion.backbones.registry`); a test compares the two.
"""

import math

BACKBONE_NAMES = {
    "visual": ("narrow_r2plus1d", "r2plus1d_18", "narrow_resnet_frames", "resnet18_frames"),
    "audio": ("narrow_resnet", "resnet18", "log_mel_statistics"),
}
FULL_WIDTH = 64  # of the backbones for which published weights exist
CROP_SIDES = (16, 112)  # pixels that a visual backbone takes, the most: all that a crop has
PRETRAINED = {"r2plus1d_18": "kinetics400", "resnet18_frames": "imagenet", "resnet18": "imagenet"}  # torchvision's
IMPORTED = {"tsav": ("r2plus1d_18", "resnet18")}  # weights that `avfusion import-weights` puts, for these backbones, in
IMPORT_FOLDER = "models/imported"  # of the project


def feature_values(name: str, width: int, input_size: int, output: str = "pooled") -> int:
    """How many numbers a backbone gives for one clip."""
    if name == "log_mel_statistics":
        return 2 * input_size
    side = math.ceil(input_size / (32 if name.endswith("_frames") else 16)) if output == "map" else 1
    return 8 * width * side**2


def check_backbone(stream: str, name: str, weights: str, width: int, input_size: int) -> tuple[str, str] | None:
    """What is wrong with a stream's backbone: (its key, what is allowed); None: nothing."""
    if name not in BACKBONE_NAMES[stream]:
        return "name", f"must be one of {', '.join(BACKBONE_NAMES[stream])}"
    ready = ["random", *([PRETRAINED[name]] if name in PRETRAINED else [])]
    ready += [source for source, names in IMPORTED.items() if name in names]
    if weights not in ready and not weights.endswith(".safetensors"):
        return "weights", f"must be {', '.join(ready)}, or a .safetensors file (pickled checkpoints can run code)"
    if name in PRETRAINED and width != FULL_WIDTH:
        return "width", f"must be {FULL_WIDTH}, the width of {name}"
    smallest, largest = CROP_SIDES
    if stream == "visual" and not smallest <= input_size <= largest:
        return "input_size", f"must be from {smallest} to {largest} pixels (a crop's size)"
    return None
