"""Weights of the published code, put into the models of this package."""

from collections.abc import Mapping
from pathlib import Path

import torch

from avfusion.errors import BadInputError
from avfusion.fusion.base import FusionModel
from avfusion.fusion.jca import JointCrossAttention

# The published `cam.py` calls W_h by its transpose's shape, (L, k), as nn.Linear stores it.
_PAPER_JCA = {
    "encoder1": "audio_encoder.linear",
    "encoder2": "visual_encoder.linear",
    "affine_a": "audio_attention.joint",
    "affine_v": "visual_attention.joint",
    "W_a": "audio_attention.stream",
    "W_v": "visual_attention.stream",
    "W_ca": "audio_attention.correlation",
    "W_cv": "visual_attention.correlation",
    "W_ha": "audio_attention.output",
    "W_hv": "visual_attention.output",
    "vregressor.0": "heads.valence.0",
    "vregressor.2": "heads.valence.2",
    "aregressor.0": "heads.arousal.0",
    "aregressor.2": "heads.arousal.2",
}


def load_paper_jca(state_dict_or_path: Mapping[str, torch.Tensor] | str | Path) -> FusionModel:
    """The published joint cross-attention (`cam.py` of the code with arXiv 2203.14779), in eval mode.

    Returns a `jca` with `released_concat=True`: its heads read [raw visual ; attended visual], as published.

    Args:
        state_dict_or_path: tensors by the published names, or a checkpoint file that holds them, plain or under
            `net`. A file is read with `weights_only=True`: nothing in it is executed.

    Raises:
        BadInputError: not such a file, or names or shapes other than the published ones (they are listed).
    """
    state = _read(state_dict_or_path) if isinstance(state_dict_or_path, str | Path) else state_dict_or_path
    renamed = {}
    unexpected = []
    for key, tensor in state.items():
        stem, _, leaf = key.rpartition(".")
        if stem in _PAPER_JCA:
            renamed[f"{_PAPER_JCA[stem]}.{leaf}"] = tensor
        else:
            unexpected.append(key)
    width, visual_dim = _shape(state, "encoder2.weight")
    length, k = _shape(state, "W_ha.weight")
    model = JointCrossAttention(
        audio_dim=_shape(state, "encoder1.weight")[1],
        visual_dim=visual_dim,
        length=length,
        encoder_width=width,
        k=k,
        head_hidden=_shape(state, "vregressor.0.weight")[0],
        released_concat=True,
    )
    own = model.state_dict()
    added_here = {"audio_mean", "audio_scale", "visual_mean", "visual_scale"} | {
        key for key in own if key.endswith(".missing")
    }
    missing = sorted(own.keys() - added_here - renamed.keys())
    wrong = [
        f"{key} {tuple(t.shape)}, needed {tuple(own[key].shape)}"
        for key, t in renamed.items()
        if key in own and t.shape != own[key].shape
    ]
    surplus = sorted(unexpected + [key for key in renamed if key not in own])
    if missing or surplus or wrong:
        faults = {"missing": missing, "unexpected": surplus, "wrong shape": wrong}
        listed = "; ".join(f"{fault}: {', '.join(keys)}" for fault, keys in faults.items() if keys)
        raise BadInputError(f"not the published joint cross-attention: {listed}")
    model.load_state_dict(renamed, strict=False)
    return model.eval()


def _read(path: str | Path) -> Mapping[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadInputError(f"{path} does not exist") from None
    except Exception as error:  # torch raises many kinds for files that are no checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"{path} is not a checkpoint of tensors: {reason}") from None
    state = loaded.get("net", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise BadInputError(f"{path} holds no mapping of names to tensors")
    return state


def _shape(state: Mapping[str, torch.Tensor], key: str) -> tuple[int, int]:
    if key not in state or state[key].ndim != 2:
        raise BadInputError(f"not the published joint cross-attention: {key} (a matrix) is missing")
    rows, columns = state[key].shape
    return rows, columns
