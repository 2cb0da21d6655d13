"""`faithful` recursive_jca and dynamic against the authors' code, tensor by tensor."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avfusion.fusion import recurrent
from avfusion.fusion.dense_coattention import DenseCoAttention, StreamCoAttention
from avfusion.fusion.published_forms.recurrent_coattention import NormalisedEncoder, RecurrentCoAttention, StepGate
from avfusion.fusion.published_forms.weights import _authors_key, load_faithful, load_network
from avfusion.runtime.errors import BadInputError
from tests.fusion.mistakes import Mistake
from tests.fusion.seeded_references import reference, seeded_normal, seeded_state

NAMES = ("recursive_jca", "dynamic")
SHARED_REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "fusion"
STREAMS = {"a": "audio", "v": "visual"}


@pytest.fixture(scope="module")
def networks() -> dict[str, RecurrentCoAttention]:
    return {name: load_network(name, seeded_state(name)) for name in NAMES}


@torch.no_grad()
def tensors(network: RecurrentCoAttention, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Intermediates and outputs by the names of the reference."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, name: str, part: Callable[[tuple, object], Tensor]) -> None:
        hooks.append(module.register_forward_hook(lambda _, inputs, out: found.update({name: part(inputs, out)})))

    for letter, stream in STREAMS.items():
        encoder = getattr(network, f"{stream}_encoder").encoder
        keep(encoder, f"mid.N_{letter}", lambda inputs, _: inputs[0])
        keep(encoder.lstm, f"mid.R_{letter}", lambda _, out: out)
        keep(encoder, f"mid.X_{letter}_0", lambda _, out: out)
        if gate := getattr(network, f"{stream}_gate"):
            keep(gate, f"mid.F_{letter}", lambda _, out: out[0])
        for t, attention in enumerate(network.attention, start=1):
            one = getattr(attention, stream)
            keep(one.key, f"mid.K_{letter}_{t}", lambda _, out: out)
            keep(one.output, f"mid.U_{letter}_{t}", lambda inputs, _: inputs[0])
            keep(one, f"mid.X_{letter}_{t}", lambda _, out: out[0])
    for t, attention in enumerate(network.attention, start=1):
        keep(attention.query, f"mid.J_{t}", lambda _, out: out)
    keep(network.joint_encoder, "mid.c", lambda inputs, _: inputs[0])
    keep(network.joint_encoder.lstm, "mid.R_joint", lambda _, out: out)
    keep(network.joint_encoder, "mid.z", lambda _, out: out)
    here = torch.ones(given["in.x_a"].shape[:2], dtype=torch.bool)
    output = network(given["in.x_a"], given["in.x_v"], here, here, here)
    for hook in hooks:
        hook.remove()
    for letter, stream in STREAMS.items():
        if f"{stream}_gate" in output.maps:
            found[f"mid.g_{letter}"] = output.maps[f"{stream}_gate"]
        for t in (1, 2):
            found[f"mid.S_{letter}_{t}"] = output.maps[f"{stream}_similarity_{t}"]
    return found | {"out.y": output.predictions}


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_agrees_with_the_authors_code(networks: dict[str, RecurrentCoAttention], name: str) -> None:
    expected = reference(name)
    found = tensors(networks[name], expected)
    assert found.keys() == {key for key in expected if not key.startswith("in.")}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


SHARED = [
    Mistake(StreamCoAttention, "forward", "math.sqrt(query.shape[-1])", "math.sqrt(stream.shape[-1])"),
    Mistake(StreamCoAttention, "forward", "torch.tanh(keys", "(keys"),
    Mistake(StreamCoAttention, "forward", "stream + self", "self"),
    Mistake(DenseCoAttention, "forward", "[visual, audio]", "[audio, visual]"),
    Mistake(DenseCoAttention, "forward", "self.query(", "("),
    Mistake(NormalisedEncoder, "forward", "F.normalize(features, dim=-1)", "features"),
    Mistake(recurrent.RecurrentEncoder, "forward", "F.normalize(rows, dim=-1)", "rows"),
    Mistake(recurrent.RecurrentEncoder, "forward", "self.start)", "None)"),
    Mistake(
        recurrent.BidirectionalLayers,
        "forward",
        "back = _take(clips, (first + count - 1 - places) % length)",
        "back = ahead",
    ),
    Mistake(recurrent, "_state", "(at, 2 * layers + at)", "(2 * layers + at, at)"),
    Mistake(RecurrentCoAttention, "forward", "attention(x_v, x_a, valid)", "attention(plain_v, plain_a, valid)"),
    Mistake(RecurrentCoAttention, "forward", "torch.cat([x_v, x_a]", "torch.cat([x_a, x_v]"),
]
OF_THE_GATE = [
    Mistake(StepGate, "forward", "self.linear(attended)", "self.linear(plain)"),
    Mistake(StepGate, "forward", " / self.temperature", ""),
    Mistake(StepGate, "forward", "first * plain + second * attended", "second * plain + first * attended"),
    Mistake(StepGate, "forward", "F.relu(first * plain + second * attended)", "first * plain + second * attended"),
]


@pytest.mark.parametrize(
    ("name", "mistake"),
    [*((name, one) for name in NAMES for one in SHARED), *(("dynamic", one) for one in OF_THE_GATE)],
    ids=str,
)
def test_a_mistake_is_noticed(
    networks: dict[str, RecurrentCoAttention], monkeypatch: pytest.MonkeyPatch, name: str, mistake: Mistake
) -> None:
    mistake.make(monkeypatch)
    expected = reference(name)
    found = tensors(networks[name], expected)["out.y"]
    assert (found - expected["out.y"]).abs().max() > 1e-3


@pytest.mark.skipif(not SHARED_REFERENCE.is_dir(), reason=f"{SHARED_REFERENCE} is not there")
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_published_sizes_agree_with_the_authors_code(name: str) -> None:
    expected = load_file(SHARED_REFERENCE / f"{name}_native_seed0.safetensors")
    model = load_faithful(name, seeded_state(f"{name}_native"))
    output = model(seeded_normal((2, 16, 512), 900), seeded_normal((2, 16, 512), 901))
    torch.testing.assert_close(output.predictions, expected["out.y"], atol=1e-5, rtol=0)


def test_published_widths_are_loaded_from_a_file_into_the_model(tmp_path: Path) -> None:
    """One width for all encoders and one step, as published."""
    small = RecurrentCoAttention(7, 9, 5, widths=(6, 6, 6), steps=1, dropout=0.6, head_hidden=4)
    keys = {_authors_key("recursive_jca", key): value for key, value in small.state_dict().items()}
    state = {key: value for key, value in keys.items() if not key.endswith("missing")}
    torch.save({"net": state}, tmp_path / "net.pt")
    model = load_faithful("recursive_jca", tmp_path / "net.pt")
    assert (model.audio_dim, model.visual_dim, model.length) == (7, 9, 5)
    assert model.options["faithful"]
    audio, visual, here = torch.randn(2, 5, 7), torch.randn(2, 5, 9), torch.ones(2, 5, dtype=torch.bool)
    expected = load_network("recursive_jca", state)(audio, visual, here, here, here).predictions
    assert torch.equal(model(audio, visual).predictions, expected)


def test_weights_that_do_not_fit_are_named() -> None:
    state = seeded_state("dynamic")
    state["surprise.weight"] = state.pop("video_gating_fc_layer.bias")
    with pytest.raises(BadInputError, match=r"missing video_gating_fc_layer\.bias; unexpected surprise\.weight"):
        load_network("dynamic", state)
    with pytest.raises(BadInputError, match=r"encoders of 20 \(audio\), 20 \(visual\) and 22 \(joint\): equal"):
        load_faithful("dynamic", seeded_state("dynamic"))
    with pytest.raises(BadInputError, match="model 'jca': must be one of recursive_jca"):
        load_faithful("jca", state)
    with pytest.raises(BadInputError, match="network 'jca': must be one of recursive_jca"):
        load_network("jca", state)
    del state["Joint.linear.weight"]
    with pytest.raises(BadInputError, match=r"missing Joint\.linear\.weight"):
        load_network("dynamic", state)
