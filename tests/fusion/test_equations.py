"""Fusion models against their published equations, written out for one sequence in NumPy; X_m is (d, clips)."""

import numpy as np
import pytest
import torch
from torch import nn

from avfusion.fusion import FusionModel, FusionOutput, build_fusion
from avfusion.fusion.temporal import BiLSTM

L, D_A, D_V, WIDTH = 5, 7, 9, 6
REAL = 4  # clips of the sequence that are not padding


def softmax(scores: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: np.ndarray) -> np.ndarray:
    """Over the last axis, as a new nn.LayerNorm."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def make(name: str, **options: object) -> FusionModel:
    torch.manual_seed(3)
    return build_fusion(
        name, audio_dim=D_A, visual_dim=D_V, length=L, encoder_width=WIDTH, **options
    ).double().eval()  # fmt: skip


class Case:
    """A model's output on a padded sequence, and what the equations need."""

    def __init__(self, model: FusionModel) -> None:
        generator = torch.Generator().manual_seed(4)
        audio = 2 * torch.randn(1, L, D_A, generator=generator, dtype=torch.float64)
        visual = 2 * torch.randn(1, L, D_V, generator=generator, dtype=torch.float64)
        padding = torch.arange(L)[None] >= REAL
        with torch.no_grad():
            self.out: FusionOutput = model(audio, visual, padding=padding)
        self.model = model
        self.x_a = self._encoded("audio_encoder", audio)
        self.x_v = self._encoded("visual_encoder", visual)

    def weight(self, name: str) -> np.ndarray:
        return self.model.state_dict()[name].numpy()

    def linear(self, name: str, rows: np.ndarray) -> np.ndarray:
        bias = self.model.state_dict().get(f"{name}.bias")
        return rows @ self.weight(f"{name}.weight").T + (0 if bias is None else bias.numpy())

    def _encoded(self, encoder: str, features: torch.Tensor) -> np.ndarray:
        encoded = self.linear(f"{encoder}.linear", features[0].numpy()).T
        return np.where(np.arange(L) < REAL, encoded, 0)

    def heads(self, rows: np.ndarray, name: str = "heads", relu: bool = False) -> np.ndarray:
        found = []
        for target in ("valence", "arousal"):
            hidden = self.linear(f"{name}.{target}.0", rows)
            last = f"{name}.{target}.{3 if relu else 2}"
            found.append(self.linear(last, np.maximum(hidden, 0) if relu else hidden))
        return np.concatenate(found, axis=1)

    def attend(self, attention: str, x: np.ndarray, joint: np.ndarray) -> np.ndarray:
        """Joint cross-attention (arXiv 2209.09068, equations 6 to 11)."""
        correlation = np.tanh(x @ self.weight(f"{attention}.joint.weight") @ joint.T / np.sqrt(len(joint)))
        w_c, w = self.weight(f"{attention}.correlation.weight"), self.weight(f"{attention}.stream.weight")
        hidden = np.maximum(w_c @ correlation.T + w @ x.T, 0)
        return (self.weight(f"{attention}.output.weight") @ hidden).T + x

    def check(self, predictions: np.ndarray) -> None:
        np.testing.assert_allclose(self.out.predictions[0, :REAL], predictions[:REAL], atol=1e-12)

    def check_map(self, name: str, values: np.ndarray) -> None:
        np.testing.assert_allclose(self.out.maps[name][0].numpy(), values, atol=1e-12)


def test_late() -> None:
    model = make("late")
    with torch.no_grad():
        model.mix.copy_(torch.tensor([0.7, -1.5]))  # type: ignore[operator, union-attr]
    case = Case(model)
    weight = sigmoid(np.array([0.7, -1.5]))
    by_audio, by_visual = (
        case.heads(x.T, f"{stream}_heads", relu=True) for stream, x in (("audio", case.x_a), ("visual", case.x_v))
    )
    case.check(weight * by_audio + (1 - weight) * by_visual)
    case.check_map("audio_weight", np.tile(weight, (L, 1)))


@torch.no_grad()
def test_late_renormalised_gives_an_absent_stream_no_weight() -> None:
    torch.manual_seed(3)
    model = build_fusion("late", audio_dim=5, visual_dim=6, length=4, encoder_width=7).eval()
    model.mix.copy_(torch.tensor([0.7, -1.5]))
    model.audio_encoder.missing.fill_(9), model.visual_encoder.missing.fill_(-9)
    audio, visual = torch.randn(1, 4, 5), torch.randn(1, 4, 6)
    heard, seen = torch.tensor([[True, True, False, False]]), torch.tensor([[True, False, True, False]])
    out = model(audio, visual, heard, seen)
    learnt = [sigmoid(np.array(logit)) for logit in (0.7, -1.5)]
    expected = [learnt, [1, 1], [0, 0], learnt]  # the last: both are absent
    torch.testing.assert_close(out.maps["audio_weight"][0], torch.tensor(expected, dtype=torch.float32))
    by_audio = model.audio_heads(model.audio_encoder.linear(audio))[0, 1]
    by_visual = model.visual_heads(model.visual_encoder.linear(visual))[0, 2]
    torch.testing.assert_close(out.predictions[0, 1:3], torch.stack([by_audio, by_visual]))
    kept = build_fusion("late", audio_dim=5, visual_dim=6, length=4, encoder_width=7, renormalise=False).eval()
    kept.load_state_dict(model.state_dict())
    assert (kept(audio, visual, heard, seen).predictions - out.predictions)[0, 1:3].abs().min() > 1e-3


def test_self_attention() -> None:
    case = Case(make("self_attention", layers=2, heads=2))
    place, stream = case.weight("place"), case.weight("stream")
    tokens = np.concatenate([case.x_a.T + place + stream[0], case.x_v.T + place + stream[1]])
    padded = np.tile(np.arange(L) >= REAL, 2)
    for layer in range(2):
        name = f"layers.{layer}"
        parts = case.linear(f"{name}.projections", layer_norm(tokens)).reshape(2 * L, 3, 2, WIDTH // 2)
        mixed, maps = [], []
        for head in range(2):
            query, key, value = parts[:, :, head].transpose(1, 0, 2)
            scores = np.where(padded, -np.inf, query @ key.T / np.sqrt(WIDTH // 2))
            maps.append(softmax(scores, axis=1))
            mixed.append(maps[-1] @ value)
        case.check_map(f"attention_{layer + 1}", np.stack(maps))
        tokens = tokens + case.linear(f"{name}.output", np.concatenate(mixed, axis=1))
        hidden = torch.from_numpy(case.linear(f"{name}.mlp.0", layer_norm(tokens)))
        tokens = tokens + case.linear(f"{name}.mlp.2", nn.functional.gelu(hidden).numpy())
    audio, visual = np.split(layer_norm(tokens), 2)
    case.check(case.heads(np.concatenate([visual, audio], axis=1), relu=True))


def test_cross_attention() -> None:
    case = Case(make("cross_attention"))
    scores = case.x_a.T @ case.weight("correlation.weight").T @ case.x_v
    real = np.arange(L) < REAL
    a_a = softmax(np.where(real[:, None], scores, -np.inf), axis=0)
    a_v = softmax(np.where(real[:, None], scores.T, -np.inf), axis=0)
    attended_a, attended_v = np.tanh(case.x_a + case.x_a @ a_a), np.tanh(case.x_v + case.x_v @ a_v)
    case.check(case.heads(np.concatenate([attended_v, attended_a]).T))
    case.check_map("audio_attention", a_a.T)
    case.check_map("visual_attention", a_v.T)
    np.testing.assert_allclose(case.out.attended_audio[0, :REAL].T, attended_a[:, :REAL], atol=1e-12)  # type: ignore[index]


@pytest.mark.parametrize("shared", [True, False])
def test_recursive_jca(shared: bool) -> None:
    case = Case(make("recursive_jca", k=3, iterations=2, shared=shared))
    streams = {
        name: bidirectional(case.model.get_submodule(f"{name}_lstm"), x)
        for name, x in (("audio", case.x_a), ("visual", case.x_v))
    }
    for t in range(2):
        own = 0 if shared else t
        joint = np.concatenate([streams["audio"], streams["visual"]])
        streams = {name: case.attend(f"{name}_attention.{own}", x, joint) for name, x in streams.items()}
        for x in streams.values():
            x[:, REAL:] = 0
    fused = bidirectional(case.model.get_submodule("joint_lstm"), np.concatenate([streams["visual"], streams["audio"]]))
    case.check(case.heads(fused.T))


def bidirectional(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """LSTM equations over the real clips alone, in both directions; zero at padding."""
    lstm = module.get_submodule("lstm").state_dict()
    found = np.zeros((2 * lstm["weight_hh_l0"].shape[1], L))
    for part, (ending, order) in enumerate((("", range(REAL)), ("_reverse", reversed(range(REAL))))):
        w_x, w_h = (lstm[f"weight_{kind}_l0{ending}"].numpy() for kind in ("ih", "hh"))
        size = w_h.shape[1]
        hidden, cell = np.zeros(size), np.zeros(size)
        for clip in order:
            i, f, g, o = np.split(w_x @ x[:, clip] + w_h @ hidden, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            found[part * size : (part + 1) * size, clip] = hidden
    return found


def test_dynamic() -> None:
    case = Case(make("dynamic", k=3))
    joint, gated = np.concatenate([case.x_a, case.x_v]), {}
    for name, x in (("audio", case.x_a), ("visual", case.x_v)):
        attended = case.attend(f"{name}_attention.attention", x, joint)
        gates = softmax(case.weight(f"{name}_attention.gate.weight") @ attended / 0.1, axis=0)
        gated[name] = np.maximum(gates[0] * x + gates[1] * attended, 0)
        case.check_map(f"{name}_gate", gates.T)
    case.check(case.heads(np.concatenate([gated["visual"], gated["audio"]]).T))


def test_modality_gate() -> None:
    case = Case(make("modality_gate", gate_hidden=4))
    scores = []
    for name, x in (("audio", case.x_a), ("visual", case.x_v)):
        gru = nn.GRU(WIDTH, 4, batch_first=True, bidirectional=True, bias=False).double()
        gru.load_state_dict(case.model.get_submodule(f"{name}_scorer.gru").state_dict())
        with torch.no_grad():
            encoded, _ = gru(torch.from_numpy(x.T[None, :REAL].copy()))  # as if there were no padding
        scores.append(case.linear(f"{name}_scorer.score", encoded[0].numpy())[:, 0])
    gates = softmax(np.stack(scores), axis=0)
    fused = gates[0] * case.x_a[:, :REAL] + gates[1] * case.x_v[:, :REAL]
    case.check(case.heads(fused.T, relu=True))
    np.testing.assert_allclose(case.out.maps["gates"][0, :REAL].T, gates, atol=1e-12)


def test_leader_follower() -> None:
    case = Case(make("leader_follower", attention_width=4))
    predictions = []
    for clip in range(L):
        x_v, x_a = case.x_v[:, clip], case.x_a[:, clip]
        rows = np.stack([case.linear("visual_projections", x_v), case.linear("audio_projections", x_a)])
        query, key, value = np.split(rows, 3, axis=1)
        attended = layer_norm(softmax(key @ query.T / np.sqrt(4), axis=1) @ value + value)
        predictions.append(case.linear("output", np.concatenate([x_v, attended[0], attended[1]])))
    case.check(np.array(predictions))


@pytest.mark.parametrize("front", [0, 2])
def test_a_bilstm_does_not_feel_padding_at_either_end(front: int) -> None:
    torch.manual_seed(0)
    layer = BiLSTM(3, 4).double()
    clips = torch.randn(2, 4, 3, dtype=torch.float64)
    padded = torch.zeros(2, 7, 3, dtype=torch.float64)
    valid = torch.zeros(2, 7, dtype=torch.bool)
    padded[:, front : front + 4], valid[:, front : front + 4] = clips, True
    expected = layer(clips, torch.ones(2, 4, dtype=torch.bool))
    found = layer(padded, valid)
    torch.testing.assert_close(found[:, front : front + 4], expected)
    assert not found[~valid].any()
