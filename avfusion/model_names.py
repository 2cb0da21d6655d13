"""Names of models and of their options, for checking parameters without importing torch.

They stand in the registries too (`avfusion.fusion`, `avfusion.backbones`); a test compares the two.
"""

import math

# A fusion model's own options, without those that are decided elsewhere.
FUSION_OPTIONS: dict[str, tuple[str, ...]] = {
    "audio_only": ("encoder_width", "head_hidden"),
    "visual_only": ("encoder_width", "head_hidden"),
    "concat": ("encoder_width", "head_hidden"),
    "late": ("encoder_width", "head_hidden"),
    "self_attention": ("encoder_width", "layers", "heads", "head_hidden"),
    "cross_attention": ("encoder_width", "head_hidden"),
    "jca": ("encoder_width", "k", "released_concat", "head_hidden"),
    "recursive_jca": ("encoder_width", "k", "iterations", "shared", "head_hidden"),
    "dynamic": ("encoder_width", "k", "temperature", "head_hidden"),
    "modality_gate": ("encoder_width", "gate_hidden", "head_hidden"),
    "leader_follower": ("encoder_width", "attention_width"),
    "released_coattention": (),
}
_SWITCHES = ("released_concat", "shared")
_SHARES = ("dropout",)
_POSITIVE = ("temperature",)  # all other options are counts
DECIDED_ELSEWHERE = {
    "dropout": "it is train.dropout",
    "length": "it is geometry.sequence_clips",
    "audio_dim": "it comes from the features",
    "visual_dim": "it comes from the features",
}
BACKBONE_NAMES = {
    "visual": ("narrow_r2plus1d", "r2plus1d_18", "narrow_resnet_frames", "resnet18_frames"),
    "audio": ("narrow_resnet", "resnet18", "log_mel_statistics"),
}
FULL_WIDTH = 64  # of the backbones for which published weights exist
CROP_SIDES = (16, 112)  # pixels that a visual backbone takes, the most: all that a crop has
PRETRAINED = {"r2plus1d_18": "kinetics400", "resnet18_frames": "imagenet", "resnet18": "imagenet"}  # torchvision's
IMPORTED = {"tsav": ("r2plus1d_18", "resnet18")}  # weights that `avfusion import-weights` puts, for these backbones, in
IMPORT_FOLDER = "models/imported"  # of the project
MAPS_ONLY = ("released_coattention",)  # fusion models that take visual maps and no pooled features


def feature_values(name: str, width: int, input_size: int, output: str = "pooled") -> int:
    """How many numbers a backbone gives for one clip."""
    if name == "log_mel_statistics":
        return 2 * input_size
    side = math.ceil(input_size / (32 if name.endswith("_frames") else 16)) if output == "map" else 1
    return 8 * width * side**2


def check_fusion_name(name: str) -> str:
    """Return the name of a fusion model, or raise a ValueError that lists them."""
    if name not in FUSION_OPTIONS:
        raise ValueError(f"allowed are {', '.join(FUSION_OPTIONS)}")
    return name


def check_option_value(option: str, value: object) -> str | None:
    """What values an option of a fusion model may have, where `value` is none of them; None: it is fine."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option in _SWITCHES:
        return None if isinstance(value, bool) else "allowed are true and false"
    if option in _SHARES:
        return None if number and 0 <= value < 1 else "allowed are numbers from 0 to below 1"  # type: ignore[operator]
    if option in _POSITIVE:
        return None if number and 0 < value < float("inf") else "allowed are numbers above 0"  # type: ignore[operator]
    whole = number and isinstance(value, int) and value >= 1
    return None if whole else "allowed are whole numbers from 1"


def check_backbone(stream: str, name: str, weights: str, width: int, input_size: int) -> tuple[str, str] | None:
    """What is wrong with a stream's backbone: (its key, what is allowed); None: nothing."""
    if name not in BACKBONE_NAMES[stream]:
        return "name", f"allowed are {', '.join(BACKBONE_NAMES[stream])}"
    ready = ["random", *([PRETRAINED[name]] if name in PRETRAINED else [])]
    ready += [source for source, names in IMPORTED.items() if name in names]
    if weights not in ready and not weights.endswith(".safetensors"):
        return "weights", f"allowed are {', '.join(ready)}, or a .safetensors file (pickled checkpoints can run code)"
    if name in PRETRAINED and width != FULL_WIDTH:
        return "width", f"allowed is {FULL_WIDTH}, that of {name}"
    smallest, largest = CROP_SIDES
    if stream == "visual" and not smallest <= input_size <= largest:
        return "input_size", f"allowed are {smallest} to {largest} pixels, the size of a crop"
    return None
