"""Load weights of the published code into the models of this package."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import scalar

from avfusion.fusion.base import FusionModel
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.named_tensors import check_fit, read_checkpoint

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
_JOINTCAM = {
    "video_attn.attn.affine_audio": "spatial_attention.audio",
    "video_attn.attn.affine_video": "spatial_attention.visual",
    "video_attn.attn.affine_v": "spatial_attention.visual_score",
    "video_attn.attn.affine_g": "spatial_attention.audio_score",
    "video_attn.attn.affine_h": "spatial_attention.score",
    "video_attn.attn.affine_feat": "spatial_attention.context",
    "coattn.dcn_layers.0.dense_coattn.query_linear": "co_attention.query",
    "coattn.dcn_layers.0.dense_coattn.key1_linear": "co_attention.visual.key",
    "coattn.dcn_layers.0.dense_coattn.key2_linear": "co_attention.audio.key",
    "coattn.dcn_layers.0.dense_coattn.value1_linear": "co_attention.visual.value",
    "coattn.dcn_layers.0.dense_coattn.value2_linear": "co_attention.audio.value",
    "coattn.dcn_layers.0.linears.0.0": "co_attention.visual.output",
    "coattn.dcn_layers.0.linears.1.0": "co_attention.audio.output",
    "Joint": "sequence",
    "Joint.rnn": "sequence.lstm",
    "Joint.linear": "sequence.linear",
    "vregressor.0": "heads.valence.0",
    "vregressor.3": "heads.valence.3",
    "aregressor.0": "heads.arousal.0",
    "aregressor.3": "heads.arousal.3",
}


def load_paper_jca(state_dict_or_path: Mapping[str, torch.Tensor] | str | Path) -> FusionModel:
    """The published joint cross-attention (`cam.py` of the code with arXiv 2203.14779), in eval mode.

    Returns a `jca` with `released_concat=True`: its heads read [raw visual ; attended visual], as published.

    Args:
        state_dict_or_path: tensors by the published names, or a checkpoint file with them, plain or under `net`. A file
            is read with `weights_only=True`: nothing in it is executed.

    Raises:
        BadInputError: the file is not such a checkpoint, or names or shapes differ from the published ones (they are
            listed).
    """
    if isinstance(state_dict_or_path, str | Path):
        state, source = read_checkpoint(state_dict_or_path, "net"), str(state_dict_or_path)
    else:
        state, source = dict(state_dict_or_path), "of the joint cross-attention"
    width, visual_dim = _shape(state, "encoder2.weight")
    length, k = _shape(state, "W_ha.weight")
    model = build_fusion(
        "jca",
        audio_dim=_shape(state, "encoder1.weight")[1],
        visual_dim=visual_dim,
        length=length,
        encoder_width=width,
        k=k,
        head_hidden=_shape(state, "vregressor.0.weight")[0],
        released_concat=True,
    )
    _fill(model, state, _PAPER_JCA, source)
    return model.eval()


def load_jointcam(path: str | Path) -> FusionModel:
    """The published fusion network (code with arXiv 2209.09068): a `released_coattention`, in eval mode on the CPU.

    Args:
        path: the published checkpoint in either container of PyTorch, or its tensors by the published names, also as
            safetensors. Nothing in it is executed: beside tensors, only the numpy scalars of its scores are allowed.

    Raises:
        BadInputError: the file is not a complete checkpoint, or names code; names or shapes differ from the published
            ones (they are listed); values are NaN or infinite.
    """
    # The published file refers to `scalar` by its name in numpy 1.
    scores = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, type(np.dtype("float64"))]
    state = read_checkpoint(path, "net", "state_dict", allowed=scores)
    if any(name.startswith(("audio_model.", "video_model.")) for name in state):
        raise BadInputError(
            f"{path} is not the published fusion network: is it TSAV's checkpoint? "
            "`avfusion import-weights tsav FILE` takes that one"
        )
    model = build_fusion("released_coattention")
    _fill(model, state, _JOINTCAM, str(path))
    return model.eval()


def _fill(model: FusionModel, state: Mapping[str, torch.Tensor], names: Mapping[str, str], source: str) -> None:
    """Load the tensors of `state` into the model; `names` maps published modules to ours."""
    here = {ours: published for published, ours in names.items()}
    own = {}
    for key in model.state_dict():
        module, _, leaf = key.rpartition(".")
        if module in here and leaf != "missing":
            own[f"{here[module]}.{leaf}"] = key
    tensors = model.state_dict()
    check_fit({published: tensors[key] for published, key in own.items()}, state, source)
    model.load_state_dict({key: state[published] for published, key in own.items()}, strict=False)


def _shape(state: Mapping[str, torch.Tensor], key: str) -> tuple[int, int]:
    if key not in state or state[key].ndim != 2:
        raise BadInputError(f"not the published joint cross-attention: {key} (a matrix) is missing")
    rows, columns = state[key].shape
    return rows, columns
