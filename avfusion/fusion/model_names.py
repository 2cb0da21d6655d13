"""Names of fusion models and of their options, for checking parameters without importing torch.

They stand in the registry too (`avfusion.fusion.registry`); a test compares the two.
"""

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
MAPS_ONLY = ("released_coattention",)  # fusion models that take visual maps and no pooled features


def check_fusion_name(name: str) -> str:
    """Return the name of a fusion model, or raise a ValueError that lists them."""
    if name not in FUSION_OPTIONS:
        raise ValueError(f"must be one of {', '.join(FUSION_OPTIONS)}")
    return name


def check_option_value(option: str, value: object) -> str | None:
    """What values an option of a fusion model may have, where `value` is none of them; None: it is fine."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option in _SWITCHES:
        return None if isinstance(value, bool) else "must be true or false"
    if option in _SHARES:
        return None if number and 0 <= value < 1 else "must be a number from 0 to below 1"  # type: ignore[operator]
    if option in _POSITIVE:
        return None if number and 0 < value < float("inf") else "must be a number above 0"  # type: ignore[operator]
    whole = number and isinstance(value, int) and value >= 1
    return None if whole else "must be a whole number from 1"
