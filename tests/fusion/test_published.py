"""The published joint cross-attention, tensor by tensor."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avfusion.fusion import build_fusion, load_paper_jca
from avfusion.runtime.errors import BadInputError
from tests.published_checkpoints import DATA, seeded_state_dict


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(DATA / "paper_jca_expected.safetensors")


@pytest.mark.parametrize("name", ["attended_audio", "attended_visual", "valence", "arousal"])
def test_agrees_with_the_published_code(expected: dict[str, torch.Tensor], name: str) -> None:
    out = load_paper_jca(seeded_state_dict("paper_jca"))(expected["audio"], expected["visual"])
    ours = {
        "attended_audio": out.attended_audio,
        "attended_visual": out.attended_visual,
        "valence": out.predictions[..., 0],
        "arousal": out.predictions[..., 1],
    }[name]
    key = f"{name}_released_concat" if name in ("valence", "arousal") else name
    assert (ours - expected[key]).abs().max() < 1e-5
    assert expected[key].abs().max() > 0.01


def test_loads_from_a_checkpoint_file(expected: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"net": seeded_state_dict("paper_jca")}, tmp_path / "model.pt")
    out = load_paper_jca(tmp_path / "model.pt")(expected["audio"], expected["visual"])
    assert (out.attended_audio - expected["attended_audio"]).abs().max() < 1e-5


def test_names_missing_and_unexpected_keys() -> None:
    state = seeded_state_dict("paper_jca")
    state["surprise.weight"] = state.pop("W_ca.weight")
    with pytest.raises(BadInputError, match=r"missing W_ca\.weight; unexpected surprise\.weight"):
        load_paper_jca(state)


def test_refuses_a_file_that_would_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"net": {"W_ca.weight": Payload()}}, tmp_path / "evil.pt")
    with pytest.raises(BadInputError, match=r"evil\.pt"):
        load_paper_jca(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_equations_clip_by_clip() -> None:
    """The batched model against SCIENCE's equations written out for one sample."""
    torch.manual_seed(0)
    model = build_fusion("jca", audio_dim=20, visual_dim=24, length=5, encoder_width=6, k=4).eval()
    audio, visual = torch.randn(3, 5, 20), torch.randn(3, 5, 24)
    out = model(audio, visual)
    for b in range(3):
        streams = {
            "audio": model.audio_encoder.linear(audio[b]).T,  # X_m, d_m × L
            "visual": model.visual_encoder.linear(visual[b]).T,
        }
        joint = torch.cat([streams["audio"], streams["visual"]])
        for stream, x in streams.items():
            weights = getattr(model, f"{stream}_attention")
            c = torch.tanh(x @ weights.joint.weight @ joint.T / math.sqrt(12))
            h = torch.relu(weights.correlation.weight @ c.T + weights.stream.weight @ x.T)
            attended = (weights.output.weight @ h).T + x
            assert torch.allclose(getattr(out, f"attended_{stream}")[b].T, attended, atol=1e-6)
            assert torch.allclose(out.maps[f"{stream}_correlation"][b], c, atol=1e-6)
