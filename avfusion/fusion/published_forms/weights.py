"""Load weights by the names of the authors' code into the models of option `faithful`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avfusion.fusion.base import FusionModel
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.named_tensors import check_fit, read_checkpoint

State = Mapping[str, torch.Tensor]
_LINEAR = ("weight", "bias")
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def load_faithful(name: str, state_dict_or_path: State | str | Path) -> FusionModel:
    """A fusion model in the form of its authors' code, with their weights, in eval mode.

    The learnt tokens of absent clips, which the authors lack, are zero.

    Args:
        name: recursive_jca or dynamic.
        state_dict_or_path: tensors by the authors' names, or a checkpoint file with them. Nothing in a file is
            executed.

    Raises:
        BadInputError: the model has no such form; the file is no checkpoint; names or shapes differ from those of the
            authors' code (they are listed); widths differ that the model has as one.
    """
    if isinstance(state_dict_or_path, str | Path):
        state, source = read_checkpoint(state_dict_or_path, "net", "state_dict"), str(state_dict_or_path)
    else:
        state, source = dict(state_dict_or_path), f"of {name}"
    if name not in _FORMS:
        raise BadInputError(f"{name} is not a model with an authors' form: must be one of {', '.join(_FORMS)}")
    model = build_fusion(name, **_FORMS[name](state, source))
    fill(model.faithful, state, authors_names(name, state), source)  # type: ignore[arg-type]
    return model.eval()


def authors_names(name: str, state: State) -> dict[str, str]:
    """The tensors of a model's network by their names in the authors' code; `state` tells how many layers it has."""
    return _NAMES[name](state)


def fill(network: nn.Module, state: State, names: Mapping[str, str], source: str) -> None:
    """Load tensors into a network.

    Args:
        names: the network's tensors by their names in `state`; all but the tokens of absent clips (`missing`).
        source: origin of `state`, for messages.

    Raises:
        BadInputError: as `check_fit`.
    """
    own = network.state_dict()
    left = own.keys() - set(names.values())
    assert all(key.endswith("missing") for key in left), left
    check_fit({theirs: own[ours] for theirs, ours in names.items()}, state, source)
    network.load_state_dict({ours: state[theirs] for theirs, ours in names.items()}, strict=False)


def _co_attention_options(state: State, source: str) -> dict[str, Any]:
    audio, visual, joint = (_matrix(state, f"{stream}.linear.weight", source) for stream in _ENCODERS)
    if not audio[0] == visual[0] == joint[0]:
        raise BadInputError(
            f"weights {source} have encoders of {audio[0]} (audio), {visual[0]} (visual) and {joint[0]} (joint): "
            "equal widths are needed"
        )
    return {
        "audio_dim": audio[1] - audio[0],
        "visual_dim": visual[1] - visual[0],
        "length": _matrix(state, "coattn.dcn_layers.0.dense_coattn.key1_linear.weight", source)[0],
        "encoder_width": audio[0],
        "head_hidden": _matrix(state, "vregressor.0.weight", source)[0],
        "faithful": True,
    }


def _recursive_jca_options(state: State, source: str) -> dict[str, Any]:
    return _co_attention_options(state, source) | {"iterations": _steps(state)}


_ENCODERS = {
    "audio_extract": "audio_encoder.encoder",
    "video_extract": "visual_encoder.encoder",
    "Joint": "joint_encoder",
}


def _recursive_jca_names(state: State) -> dict[str, str]:
    names: dict[str, str] = {}
    for theirs, ours in _ENCODERS.items():
        names |= {f"{theirs}.init_hidden": f"{ours}.start", **_linear(f"{theirs}.linear", f"{ours}.linear")}
        names |= _recurrent(f"{theirs}.rnn", f"{ours}.lstm", layers=2)
    for step in range(_steps(state)):
        ours = f"attention.{step}"
        dense = f"coattn.dcn_layers.{step}.dense_coattn"
        names |= _linear(f"{dense}.query_linear", f"{ours}.query")
        for number, stream in enumerate(("visual", "audio")):
            names |= _linear(f"{dense}.key{number + 1}_linear", f"{ours}.{stream}.key")
            names |= _linear(f"{dense}.value{number + 1}_linear", f"{ours}.{stream}.value")
            names |= _linear(f"coattn.dcn_layers.{step}.linears.{number}.0", f"{ours}.{stream}.output")
    for theirs, ours in (("vregressor", "valence"), ("aregressor", "arousal")):
        for layer in (0, 3):
            names |= _linear(f"{theirs}.{layer}", f"heads.{ours}.{layer}")
    return names


def _dynamic_names(state: State) -> dict[str, str]:
    gates = {"audio": "audio_gating_fc_layer", "visual": "video_gating_fc_layer"}
    names = _recursive_jca_names(state)
    for stream, theirs in gates.items():
        names |= _linear(theirs, f"{stream}_gate.linear")
    return names


def _steps(state: State) -> int:
    return max(1, sum(key.endswith(".dense_coattn.query_linear.weight") for key in state))


def _linear(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{leaf}": f"{ours}.{leaf}" for leaf in _LINEAR}


def _recurrent(theirs: str, ours: str, layers: int) -> dict[str, str]:
    """Of `BidirectionalLayers`."""
    return {
        f"{theirs}.{leaf}_l{layer}{way}": f"{ours}.layers.{layer}.{direction}.{leaf}_l0"
        for layer in range(layers)
        for direction, way in enumerate(("", "_reverse"))
        for leaf in _RECURRENT
    }


def _matrix(state: State, key: str, source: str) -> tuple[int, int]:
    if key not in state or state[key].ndim != 2:
        raise BadInputError(f"weights {source} do not fit: missing {key} (a matrix)")
    rows, columns = state[key].shape
    return rows, columns


_FORMS = {"recursive_jca": _recursive_jca_options, "dynamic": _co_attention_options}
_NAMES = {"recursive_jca": _recursive_jca_names, "dynamic": _dynamic_names}
