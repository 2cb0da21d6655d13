"""Load weights by the names of the authors' code into the networks of this package, and into models with `faithful`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avfusion.fusion.base import FusionModel
from avfusion.fusion.published_forms.gated_recurrence import GatedRecurrence
from avfusion.fusion.published_forms.leader_follower import LeaderFollowerNetwork
from avfusion.fusion.published_forms.recurrent_coattention import RecurrentCoAttention
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.named_tensors import check_fit, read_checkpoint

State = Mapping[str, torch.Tensor]
NETWORKS = ("recursive_jca", "dynamic", "modality_gate", "leader_follower", "leader_follower_abaw2", "lfan")

# From our names of tensors to the authors', each rule applied in turn.
_RECURRENT = [
    (r"\.layers\.(\d)\.0\.(\w+)_l0$", r".\2_l\1"),
    (r"\.layers\.(\d)\.1\.(\w+)_l0$", r".\2_l\1_reverse"),
]
_TCN = [
    (r"\.blocks\.(\d+)\.first\.", r".network.\1.conv1."),
    (r"\.blocks\.(\d+)\.second\.", r".network.\1.conv2."),
    (r"\.blocks\.(\d+)\.residual\.", r".network.\1.downsample."),
    (r"\.direction$", ".weight_v"),
    (r"\.gain$", ".weight_g"),
]
_CO_ATTENTION = [
    *_RECURRENT,
    (r"^audio_encoder\.encoder", "audio_extract"),
    (r"^visual_encoder\.encoder", "video_extract"),
    (r"^joint_encoder", "Joint"),
    (r"\.lstm\.", ".rnn."),
    (r"\.start$", ".init_hidden"),
    (r"^attention\.(\d)\.query", r"coattn.dcn_layers.\1.dense_coattn.query_linear"),
    (r"^attention\.(\d)\.visual\.(key|value)", r"coattn.dcn_layers.\1.dense_coattn.\g<2>1_linear"),
    (r"^attention\.(\d)\.audio\.(key|value)", r"coattn.dcn_layers.\1.dense_coattn.\g<2>2_linear"),
    (r"^attention\.(\d)\.visual\.output", r"coattn.dcn_layers.\1.linears.0.0"),
    (r"^attention\.(\d)\.audio\.output", r"coattn.dcn_layers.\1.linears.1.0"),
    (r"^audio_gate\.linear", "audio_gating_fc_layer"),
    (r"^visual_gate\.linear", "video_gating_fc_layer"),
    (r"^heads\.valence", "vregressor"),
    (r"^heads\.arousal", "aregressor"),
]
_RULES = {
    "recursive_jca": _CO_ATTENTION,
    "dynamic": _CO_ATTENTION,
    "modality_gate": [
        *_RECURRENT,
        (r"^visual_encoder\.linear", "proj_v"),
        (r"^visual_scorer", "att_fuse.scorer_v"),
        (r"^audio_scorer", "att_fuse.scorer_a"),
        (r"\.linear\.", ".fc."),
        (r"^gru", "fusion.gru"),
        (r"^output", "fusion.fc"),
    ],
    "leader_follower": [
        *_TCN,
        (r"^temporal\.0", "temporal.video"),
        (r"^temporal\.1", "temporal.vggish"),
        (r"^attention\.(key|query|value)\.0", r"encoder\1.video"),
        (r"^attention\.(key|query|value)\.1", r"encoder\1.vggish"),
        (r"^encoderkey", "encoderK"),
        (r"^encoderquery", "encoderQ"),
        (r"^encodervalue", "encoderV"),
        (r"^attention\.norm", "ln"),
        (r"^output", "regressor"),
    ],
    "leader_follower_abaw2": [
        *_TCN,
        (r"^temporal\.0", "temporal"),
        (r"^temporal\.(\d)", r"temporal\1"),
        *((rf"^attention\.key\.{i}", f"encoder{i + 1}") for i in range(3)),
        *((rf"^attention\.query\.{i}", f"encoderQ{i + 1}") for i in range(3)),
        *((rf"^attention\.value\.{i}", f"encoderV{i + 1}") for i in range(3)),
        (r"^attention\.norm", "ln"),
        (r"^output", "regressor"),
    ],
    "lfan": [
        *_TCN,
        (r"^(temporal|norms)\.0", r"\1.video"),
        (r"^(temporal|norms)\.1", r"\1.logmel"),
        (r"^norms\.(\w+)\.norm", r"bn.\1"),
        (r"^attention\.projections\.0", "fusion.layers.self_attn.qkv_proj.video"),
        (r"^attention\.projections\.1", "fusion.layers.self_attn.qkv_proj.logmel"),
        (r"^attention\.output", "fusion.layers.self_attn.o_proj"),
        (r"^attention\.norm", "fusion.layers.norm1"),
        (r"^output", "regressor"),
    ],
}


def load_network(name: str, state_dict_or_path: State | str | Path, **options: Any) -> nn.Module:
    """A network of a paper's authors with their weights, of the sizes that these have, in eval mode.

    The learnt tokens of absent clips, which the authors lack, are zero.

    Args:
        name: one of `NETWORKS`. `leader_follower` is the class of one head in the code of ABAW3, `lfan` its entry.
        state_dict_or_path: tensors by the authors' names, or a checkpoint file with them. Nothing in a file is
            executed.
        options: what weights do not tell: `heads` of `lfan` (default: 2), `temperature` of `dynamic` (default: 0.1).

    Raises:
        BadInputError: there is no such network; the file is no checkpoint; names or shapes differ from those of the
            authors' code (they are listed).
    """
    if name not in NETWORKS:
        raise BadInputError(f"network {name!r}: must be one of {', '.join(NETWORKS)}")
    state, source = _read(name, state_dict_or_path)
    network = _BUILD[name](_Sizes(state, source), **options)
    own = {_authors_key(name, key): key for key in network.state_dict() if not key.endswith("missing")}
    tensors = network.state_dict()
    check_fit({theirs: tensors[ours] for theirs, ours in own.items()}, state, source)
    network.load_state_dict({ours: state[theirs] for theirs, ours in own.items()}, strict=False)
    return network.eval()


def load_faithful(name: str, state_dict_or_path: State | str | Path) -> FusionModel:
    """A fusion model with `faithful: true` and the weights of its authors' code, in eval mode.

    Args:
        name: recursive_jca, dynamic or modality_gate.

    Raises:
        BadInputError: as `load_network`; or widths differ that the model has as one.
    """
    if name not in ("recursive_jca", "dynamic", "modality_gate"):
        raise BadInputError(f"model {name!r}: must be one of recursive_jca, dynamic, modality_gate")
    state, source = _read(name, state_dict_or_path)
    network = load_network(name, state_dict_or_path)
    model = build_fusion(name, faithful=True, **_OPTIONS[name](_Sizes(state, source)))
    model.load_state_dict({f"faithful.{key}": tensor for key, tensor in network.state_dict().items()}, strict=False)
    return model.eval()


class _Sizes:
    """Sizes of the authors' tensors."""

    def __init__(self, state: State, source: str) -> None:
        self.state, self.source = state, source

    def __call__(self, key: str) -> tuple[int, ...]:
        """Shape of the weight of a layer."""
        shape = self.state[f"{key}.weight"].shape if f"{key}.weight" in self.state else ()
        if len(shape) < 2:
            raise BadInputError(f"weights {self.source} do not fit: missing {key}.weight (a matrix)")
        return tuple(shape)

    def encoder(self, key: str) -> tuple[int, int]:
        """Widths of input and output of a `RecurrentEncoder`."""
        rows, columns = self(f"{key}.linear")
        return columns - rows // 2 * 2, rows

    def tcn(self, key: str) -> tuple[int, tuple[int, ...], int]:
        """Width of the input, widths of the blocks and kernel of a `TCN`."""
        found = [self.state.get(f"{key}.network.{block}.conv1.weight_v") for block in range(len(self.state))]
        shapes = [tuple(weight.shape) for weight in found if weight is not None and weight.ndim == 3]
        if not shapes:
            raise BadInputError(f"weights {self.source} do not fit: missing {key}.network.0.conv1.weight_v")
        return shapes[0][1], tuple(shape[0] for shape in shapes), shapes[0][2]


def _co_attention(sizes: _Sizes, temperature: float | None = None) -> RecurrentCoAttention:
    encoders = [sizes.encoder(key) for key in ("audio_extract", "video_extract", "Joint")]
    return RecurrentCoAttention(
        encoders[0][0],
        encoders[1][0],
        sizes("coattn.dcn_layers.0.dense_coattn.key1_linear")[0],
        widths=tuple(width for _, width in encoders),
        steps=_steps(sizes),
        temperature=temperature,
        dropout=0.6,
        head_hidden=sizes("vregressor.0")[0],
    )


def _dynamic(sizes: _Sizes, temperature: float = 0.1) -> RecurrentCoAttention:
    return _co_attention(sizes, temperature)


def _steps(sizes: _Sizes) -> int:
    return sum(key.endswith(".dense_coattn.query_linear.weight") for key in sizes.state)


def _modality_gate(sizes: _Sizes) -> GatedRecurrence:
    width, visual_dim = sizes("proj_v")
    gate_hidden, hidden = sizes("att_fuse.scorer_a.fc")[1] // 2, sizes("fusion.fc.0")[0]
    return GatedRecurrence(width, visual_dim, width=width, gate_hidden=gate_hidden, hidden=hidden)


def _leader_follower(
    sizes: _Sizes, form: str, streams: tuple[str, ...], attention_width: int, heads: int = 1
) -> LeaderFollowerNetwork:
    dims, widths, kernels = zip(*(sizes.tcn(stream) for stream in streams), strict=True)
    return LeaderFollowerNetwork(
        dims, widths, form=form, kernel=kernels[0], attention_width=attention_width, heads=heads
    )


def _equal_widths(sizes: _Sizes) -> dict[str, Any]:
    (audio_dim, audio), (visual_dim, visual), (_, joint) = (
        sizes.encoder(key) for key in ("audio_extract", "video_extract", "Joint")
    )
    if not audio == visual == joint:
        raise BadInputError(
            f"weights {sizes.source} have encoders of {audio} (audio), {visual} (visual) and {joint} (joint): "
            "equal widths are needed"
        )
    return {
        "audio_dim": audio_dim,
        "visual_dim": visual_dim,
        "length": sizes("coattn.dcn_layers.0.dense_coattn.key1_linear")[0],
        "encoder_width": audio,
        "head_hidden": sizes("vregressor.0")[0],
    }


def _gate_options(sizes: _Sizes) -> dict[str, Any]:
    width, visual_dim = sizes("proj_v")
    gate_hidden, hidden = sizes("att_fuse.scorer_a.fc")[1] // 2, sizes("fusion.fc.0")[0]
    return {
        "audio_dim": width,
        "visual_dim": visual_dim,
        "encoder_width": width,
        "gate_hidden": gate_hidden,
        "head_hidden": hidden,
    }


_BUILD: Mapping[str, Callable[..., nn.Module]] = {
    "recursive_jca": _co_attention,
    "dynamic": _dynamic,
    "modality_gate": _modality_gate,
    "leader_follower": lambda sizes: _leader_follower(
        sizes, "paper", ("temporal.video", "temporal.vggish"), sizes("encoderK.video")[0]
    ),
    "leader_follower_abaw2": lambda sizes: _leader_follower(
        sizes, "abaw2", ("temporal", "temporal1", "temporal2"), sizes("encoder1")[0]
    ),
    "lfan": lambda sizes, heads=2: _leader_follower(
        sizes,
        "abaw3",
        ("temporal.video", "temporal.logmel"),
        sizes("fusion.layers.self_attn.qkv_proj.video")[0] // 3,
        heads,
    ),
}
_OPTIONS: Mapping[str, Callable[[_Sizes], dict[str, Any]]] = {
    "recursive_jca": lambda sizes: _equal_widths(sizes) | {"iterations": _steps(sizes)},
    "dynamic": _equal_widths,
    "modality_gate": _gate_options,
}


def _authors_key(name: str, key: str) -> str:
    for pattern, theirs in _RULES[name]:
        key = re.sub(pattern, theirs, key)
    return key


def _read(name: str, given: State | str | Path) -> tuple[State, str]:
    if isinstance(given, str | Path):
        return read_checkpoint(given, "net", "state_dict"), str(given)
    return given, f"of {name}"
