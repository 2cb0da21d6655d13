"""The authors' GRJCA, HGRJCA and TAGF in their sizes, made of this package's parts and filled with seeded weights."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avfusion.fusion import build_fusion
from avfusion.fusion.grjca import HierarchicalGate, RecursionGate
from avfusion.fusion.recursive_coattention import GatedRecursion, RecursiveCoAttention
from avfusion.fusion.tagf import TimeAwareGate
from avfusion.fusion.temporal import BatchNormHead, TemporalEncoder
from tests.fusion.seeded_references import fill

STREAMS = {"v": ("visual", "video", 1), "a": ("audio", "logmel", 2)}
GATES: Mapping[str, Callable[[int], nn.Module]] = {
    "grjca": lambda width: RecursionGate(width, 2, 0.1),
    "hgrjca": lambda width: HierarchicalGate(width, 2, 0.1),
    "tagf": lambda width: TimeAwareGate(width, 0.1, "mean", 0.1),
}
OF_GATES = {
    "grjca": {"gating_fc_layer": "gate.linear"},
    "hgrjca": {
        "gating_fc_layer_stage1": "levels.0.linear",
        "gating_fc_layer_stage2": "levels.1.linear",
        "gating_fc_layer_stage": "last.linear",
    },
    "tagf": {
        "temporal_encoder.rnn": "lstm",
        "temporal_encoder.linear": "linear",
        "temporal_encoder.init_hidden": "start",
    },
}


class Unencoded(nn.Module):
    """In the place of a stream's linear encoder, which the authors lack."""

    def forward(self, features: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        """The features."""
        return features


def published(name: str, state: dict[str, Tensor]) -> GatedRecursion:
    """The network `grjca`, `hgrjca` or `tagf` in the sizes of `state`, filled with it."""
    prefix = f"{name.upper()}.coattn.dcn_layers.0.dense_coattn"
    length = len(state[f"{prefix}.key1_linear.bias"])
    width_v, width_a = (len(state[f"{prefix}.value{number}_linear.bias"]) for _, _, number in STREAMS.values())
    model = build_fusion("tagf" if name == "tagf" else "grjca", audio_dim=1, visual_dim=1, length=length)
    assert isinstance(model, GatedRecursion)
    model.audio_encoder, model.visual_encoder = Unencoded(), Unencoded()
    model.audio_temporal, model.visual_temporal = (_front_end(state, own) for own in ("logmel", "video"))
    model.attention = RecursiveCoAttention(width_v, width_a, length, iterations=2, k=None, dropout=0.6)
    model.audio_gate, model.visual_gate = GATES[name](width_a), GATES[name](width_v)
    model.heads = BatchNormHead(width_v + width_a, len(state["regressor1.bias"]))
    model.heads.output = nn.Linear(len(state["regressor1.bias"]), len(state["regressor2.bias"]))
    fill(model, names(name, state), state, leave=("audio_mean", "audio_scale", "visual_mean", "visual_scale"))
    return model.eval()


def names(name: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our modules and tensors by the authors' names."""
    found = {"regressor1": "heads.hidden", "bn1": "heads.norm.norm", "regressor2": "heads.output"}
    for stream, own, number in STREAMS.values():
        found[f"bn.{own}"] = f"{stream}_temporal.norm.norm"
        for block in range(_blocks(state, own)):
            theirs, ours = f"temporal.{own}.network.{block}", f"{stream}_temporal.tcn.blocks.{block}"
            found[f"{theirs}.downsample"] = f"{ours}.residual"
            for conv, which in (("conv1", "first"), ("conv2", "second")):
                leaves = {"weight_g": "gain", "weight_v": "direction", "bias": "bias"}
                found |= {f"{theirs}.{conv}.{leaf}": f"{ours}.{which}.{leaves[leaf]}" for leaf in leaves}
        for step in range(2):
            theirs, ours = f"{name.upper()}.coattn.dcn_layers.{step}", f"attention.steps.{step}"
            found[f"{theirs}.dense_coattn.query_linear"] = f"{ours}.query"
            found[f"{theirs}.dense_coattn.key{number}_linear"] = f"{ours}.{stream}.key"
            found[f"{theirs}.dense_coattn.value{number}_linear"] = f"{ours}.{stream}.value"
            found[f"{theirs}.linears.{number - 1}.0"] = f"{ours}.{stream}.output"
        modality = "video" if stream == "visual" else "audio"
        found |= {f"{name.upper()}.{modality}_{gate}": f"{stream}_gate.{ours}" for gate, ours in OF_GATES[name].items()}
    return found


@torch.no_grad()
def tensors(name: str, model: GatedRecursion, audio: Tensor, visual: Tensor) -> dict[str, Tensor]:
    """Intermediates and outputs by the names of the reference."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, key: str, part: Callable[[tuple[Tensor, ...], Tensor], Tensor]) -> None:
        hooks.append(module.register_forward_hook(lambda _, inputs, out: found.update({key: part(inputs, out)})))

    for m, (stream, _, _) in STREAMS.items():
        front, gate = model.get_submodule(f"{stream}_temporal"), model.get_submodule(f"{stream}_gate")
        keep(front, f"mid.T_{m}", lambda _, out: out)
        for i, block in enumerate(front.get_submodule("tcn.blocks").children()):
            keep(block, f"mid.tcn_{m}_{i}", lambda _, out: out.transpose(1, 2))
        keep(gate, f"mid.F_{m}", lambda _, out: out[0])
        for t in range(3):
            keep(gate, f"mid.X_{m}_{t}", lambda inputs, _, t=t: inputs[0][:, :, t])
        for t in range(2):
            step = model.get_submodule(f"attention.steps.{t}.{stream}")
            keep(step.get_submodule("key"), f"mid.K_{m}_{t + 1}", lambda _, out: out)
            keep(step.get_submodule("output"), f"mid.U_{m}_{t + 1}", lambda inputs, _: inputs[0])
            if name == "hgrjca":
                keep(gate.get_submodule(f"levels.{t}"), f"mid.G{t + 1}_{m}", lambda _, out: out[0])
        if name == "tagf":
            keep(gate.get_submodule("lstm"), f"mid.R_{m}", lambda _, out: out[0].unflatten(0, audio.shape[:2]))
            keep(
                gate.get_submodule("linear"),
                f"mid.E_{m}",
                lambda _, out: F.normalize(out, dim=-1).unflatten(0, audio.shape[:2]),
            )
    for t in range(2):
        keep(model.get_submodule(f"attention.steps.{t}.query"), f"mid.J_{t + 1}", lambda _, out: out)
    keep(model.heads, "mid.c", lambda inputs, _: inputs[0])
    keep(model.heads.get_submodule("norm"), "mid.h", lambda _, out: out)
    here = torch.ones(audio.shape[:2], dtype=torch.bool)
    output = model.fuse(audio, visual, here, here, here)
    for hook in hooks:
        hook.remove()
    for m, (stream, _, _) in STREAMS.items():
        for t in (1, 2):
            found[f"mid.S_{m}_{t}"] = output.maps[f"{stream}_similarity_{t}"]
        if name == "hgrjca":
            own = {"p": "gate_1", "g": "gate_2", "s": "gate"}
        else:
            own = {"g" if name == "grjca" else "w": "gate"}
        found |= {f"mid.{letter}_{m}": output.maps[f"{stream}_{gate}"] for letter, gate in own.items()}
        if name == "tagf":
            found[f"mid.s_{m}"] = found[f"mid.E_{m}"].mean(dim=-1)
    return found | {"out.y": output.predictions}


def _front_end(state: Mapping[str, Tensor], own: str) -> TemporalEncoder:
    weights = [state[f"temporal.{own}.network.{i}.conv1.weight_v"] for i in range(_blocks(state, own))]
    return TemporalEncoder(weights[0].shape[1], tuple(len(weight) for weight in weights), weights[0].shape[2])


def _blocks(state: Mapping[str, Tensor], own: str) -> int:
    return sum(key.startswith(f"temporal.{own}.") and key.endswith("conv1.bias") for key in state)
