"""Leader-follower networks of ABAW2 and ABAW3 against the authors' code, tensor by tensor."""

import pytest
import torch
from torch import Tensor, nn

from avfusion.fusion import build_fusion, temporal
from avfusion.fusion.published_forms.leader_follower import (
    FollowerAttention,
    LeaderFollowerNetwork,
    MultiHeadFollowerAttention,
)
from avfusion.fusion.published_forms.weights import load_network
from avfusion.runtime.errors import BadInputError
from tests.fusion.mistakes import Mistake
from tests.fusion.seeded_references import reference, seeded_state

STREAMS = {"leader_follower": "va", "leader_follower_abaw2": "012", "lfan": "va"}
HEADS = 3  # of lfan


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    options = {"lfan": {"heads": HEADS}}
    return {name: load_network(name, seeded_state(name), **options.get(name, {})) for name in STREAMS}


@torch.no_grad()
def tensors(name: str, network: LeaderFollowerNetwork, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Intermediates and outputs by the names of the reference."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(module: nn.Module, key: str) -> None:
        hooks.append(module.register_forward_hook(lambda _, __, out: found.update({key: out})))

    streams, attention = STREAMS[name], network.attention
    for index, stream in enumerate(streams):
        keep(network.temporal[index], f"mid.{'tcn' if name == 'lfan' else 'T'}_{stream}")
        if isinstance(attention, MultiHeadFollowerAttention):
            keep(network.norms[index], f"mid.T_{stream}")
            keep(attention.projections[index], f"mid.qkv_{stream}")
        else:
            keep(attention.key[index], f"mid.K_{stream}")
            keep(attention.query[index], f"mid.Q_{stream}")
            keep(attention.value[index], f"mid.V_{stream}")
    keep(attention.norm, "mid.F")
    hooks.append(attention.register_forward_hook(lambda _, __, out: found.update({"mid.A": out[1]})))
    if isinstance(attention, MultiHeadFollowerAttention):
        keep(attention.output, "mid.O")
        hooks.append(
            attention.output.register_forward_pre_hook(lambda _, inputs: found.update({"mid.values": inputs[0]}))
        )
    features = [given[f"in.x_{stream}"] for stream in streams]
    here = torch.ones(features[0].shape[:2], dtype=torch.bool)
    found["out.y"] = network.fuse_streams(features, [here] * len(streams), here).predictions
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_every_tensor_agrees_with_the_authors_code(networks: dict[str, LeaderFollowerNetwork], name: str) -> None:
    expected = reference(name)
    found = tensors(name, networks[name], expected)
    assert found.keys() == {key for key in expected if not key.startswith("in.")}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


OF_ALL = [
    Mistake(temporal.TCNBlock, "forward", "hidden + self.residual(rows)", "hidden"),
    Mistake(temporal.CausalConv, "forward", "(reach, 0)", "(0, reach)"),
    Mistake(LeaderFollowerNetwork, "fuse_streams", "[encoded[0], attended", "[encoded[0].flip(1), attended"),
]
OF_ONE_HEAD = [
    Mistake(FollowerAttention, "forward", " / math.sqrt(query.shape[-1])", ""),
    Mistake(FollowerAttention, "forward", "softmax(dim=-1)", "softmax(dim=-2)"),
    Mistake(FollowerAttention, "forward", "attention @ value + value", "attention @ value"),
    Mistake(FollowerAttention, "forward", "self.norm(attention @ value + value)", "attention @ value + value"),
    Mistake(
        FollowerAttention,
        "forward",
        "self.norm(attention @ value + value)",
        "nn.functional.layer_norm(attention @ value + value, value.shape[-1:]) * self.norm.weight + self.norm.bias",
    ),
    Mistake(FollowerAttention, "forward", "scores / ", "scores.transpose(-1, -2) / "),
]
FROM_ENCODINGS = Mistake(FollowerAttention, "forward", "[streams[0], *keys[1:]]", "streams")
OF_LFAN = [
    Mistake(MultiHeadFollowerAttention, "forward", "math.sqrt(query.shape[-1])", "math.sqrt(12)"),
    Mistake(MultiHeadFollowerAttention, "forward", "query @ key.transpose", "key @ query.transpose"),
    Mistake(MultiHeadFollowerAttention, "forward", "attention @ value + value", "attention @ value"),
    Mistake(MultiHeadFollowerAttention, "forward", "value).flatten(2)", "value).transpose(2, 3).flatten(2)"),
    Mistake(
        MultiHeadFollowerAttention,
        "forward",
        "unflatten(-1, (self.heads, -1))",
        "unflatten(-1, (3, self.heads, -1)).transpose(-3, -2).flatten(-2)",
    ),
    Mistake(MultiHeadFollowerAttention, "forward", "self.norm(self", "(self"),
    Mistake(LeaderFollowerNetwork, "fuse_streams", "torch.tanh(predictions)", "predictions"),
    Mistake(LeaderFollowerNetwork, "fuse_streams", "[norm(x, valid) for", "[x for"),
]


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        *((name, one) for name in STREAMS for one in OF_ALL),
        *((name, one) for name in ("leader_follower", "leader_follower_abaw2") for one in OF_ONE_HEAD),
        ("leader_follower_abaw2", FROM_ENCODINGS),
        *(("lfan", one) for one in OF_LFAN),
    ],
    ids=str,
)
def test_a_mistake_is_noticed(
    networks: dict[str, LeaderFollowerNetwork], monkeypatch: pytest.MonkeyPatch, name: str, mistake: Mistake
) -> None:
    mistake.make(monkeypatch)
    expected = reference(name)
    found = tensors(name, networks[name], expected)["out.y"]
    assert (found - expected["out.y"]).abs().max() > 1e-3


def test_one_head_and_abaw2_differ_in_what_followers_read() -> None:
    torch.manual_seed(1)
    sizes = {"audio_dim": 5, "visual_dim": 6, "length": 4, "encoder_width": 8, "attention_width": 8}
    paper, abaw2 = (build_fusion("leader_follower", form=form, **sizes).eval() for form in ("paper", "abaw2"))
    abaw2.load_state_dict(paper.state_dict())
    audio, visual = torch.randn(2, 4, 5), torch.randn(2, 4, 6)
    assert (paper(audio, visual).predictions - abaw2(audio, visual).predictions).abs().max() > 1e-3
    with pytest.raises(BadInputError, match=r"heads is 3: must be a divisor of attention_width \(8\)"):
        build_fusion("leader_follower", form="abaw3", heads=3, **sizes)


def test_weights_that_do_not_fit_are_named() -> None:
    state = seeded_state("lfan")
    state["surprise"] = state.pop("bn.video.running_var")
    with pytest.raises(BadInputError, match=r"missing bn\.video\.running_var; unexpected surprise"):
        load_network("lfan", state, heads=HEADS)
    state = seeded_state("leader_follower_abaw2")
    del state["temporal1.network.0.conv1.weight_v"]
    with pytest.raises(BadInputError, match=r"missing .*temporal1\.network\.0\.conv1\.weight_v"):
        load_network("leader_follower_abaw2", state)
