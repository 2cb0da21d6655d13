"""Mistakes in the forward pass of GRJCA, HGRJCA, TAGF and RAAV: each moves outputs away from those of the authors."""

import pytest
from torch import Tensor

from avfusion.fusion.dense_coattention import DenseCoAttention, StreamCoAttention
from avfusion.fusion.grjca import HierarchicalGate, RecursionGate, StateGate
from avfusion.fusion.raav import AudioLatents, FrameGate, ReliabilityAwareFusion
from avfusion.fusion.recursive_coattention import GatedRecursion, RecursiveCoAttention
from avfusion.fusion.self_attention import TransformerLayer
from avfusion.fusion.tagf import TimeAwareGate
from tests.fusion.mistakes import Mistake
from tests.fusion.published_raav import PublishedRAAV
from tests.fusion.published_recursions import published, tensors
from tests.fusion.seeded_references import reference, seeded_state

RECURSION = [
    Mistake(StreamCoAttention, "forward", "math.sqrt(query.shape[-1])", "math.sqrt(stream.shape[-1])"),
    Mistake(StreamCoAttention, "forward", "torch.tanh(keys", "(keys"),
    Mistake(StreamCoAttention, "forward", "F.relu(torch.tanh(", "(torch.tanh("),
    Mistake(DenseCoAttention, "forward", "self.query(", "("),
    Mistake(RecursiveCoAttention, "forward", "F.normalize(visual, dim=-1)", "visual"),
    Mistake(RecursiveCoAttention, "forward", "step(states_v[-1], ", "step(states_v[0], "),
    Mistake(GatedRecursion, "fuse_encoded", "[fused_v, fused_a]", "[fused_a, fused_v]"),
]
STATE_GATE = [
    Mistake(StateGate, "forward", "F.relu(", "("),
    Mistake(StateGate, "forward", " / self.temperature", ""),
    Mistake(StateGate, "forward", ".softmax(dim=-1)", ".softmax(dim=1)"),
]
OF_GRJCA = [Mistake(RecursionGate, "forward", "states[:, :, -1]", "states[:, :, 1]")]
OF_HGRJCA = [
    Mistake(HierarchicalGate, "forward", "states[:, :, t])", "states[:, :, -1])"),
    Mistake(HierarchicalGate, "forward", "dim=2), states[:, :, -1]", "dim=2), mixes[-1]"),
]
OF_TAGF = [
    Mistake(TimeAwareGate, "forward", " / self.temperature", ""),
    Mistake(TimeAwareGate, "forward", ".softmax(dim=-1)", ".softmax(dim=0)"),
    Mistake(TimeAwareGate, "forward", "F.normalize(encoded, dim=-1)", "encoded"),
    Mistake(TimeAwareGate, "forward", "[rows, recurrent]", "[recurrent, rows]"),
    Mistake(
        TimeAwareGate, "forward", "(hidden.contiguous(), cell.contiguous())", "(cell.contiguous(), hidden.contiguous())"
    ),
    Mistake(TimeAwareGate, "forward", "rows.to(hidden.dtype), ", "rows.flip(1), "),
    Mistake(
        TimeAwareGate,
        "forward",
        "(weights[..., None] * states).sum(dim=2)",
        "F.relu((weights[..., None] * states).sum(dim=2))",
    ),
]
OF_RAAV = [
    Mistake(FrameGate, "forward", " + self.log_priors", ""),
    Mistake(FrameGate, "forward", "dim=-1) + self", "dim=-1) * 0 + self"),
    Mistake(AudioLatents, "forward", "start, sound, heard & ~audible)", "start, sound)"),
    Mistake(AudioLatents, "forward", "self.latent_norm(start + attended)", "start + attended"),
    Mistake(AudioLatents, "forward", "self.look, self.query_norm(frames)", "self.look, (frames)"),
    Mistake(
        AudioLatents,
        "forward",
        "self.frame_norm(frames + attended), frames",
        "self.frame_norm(frames + attended), self.frame_norm(frames)",
    ),
    Mistake(
        AudioLatents,
        "forward",
        "self.frame_norm(frames + attended)",
        "self.frame_norm(self.query_norm(frames) + attended)",
    ),
    Mistake(ReliabilityAwareFusion, "fuse_frames", "torch.where(seen[..., None], frames, 0)", "frames"),
    Mistake(ReliabilityAwareFusion, "fuse_frames", "layer(frames, valid)", "layer(frames, seen)"),
    Mistake(TransformerLayer, "forward", " / math.sqrt(query.shape[-1])", ""),
    Mistake(TransformerLayer, "forward", "valid[:, None, None]", "valid[:, None, None] | True"),
]
CASES = {
    "grjca": RECURSION + STATE_GATE + OF_GRJCA,
    "hgrjca": STATE_GATE + OF_HGRJCA + RECURSION[:2],
    "tagf": OF_TAGF + RECURSION[:2],
    "raav": OF_RAAV,
}


def outputs(name: str) -> dict[str, Tensor]:
    if name == "raav":
        found = PublishedRAAV("raav").results()
    else:
        given = reference(name)
        found = tensors(name, published(name, seeded_state(name)), given["in.x_a"], given["in.x_v"])
    return {key: value for key, value in found.items() if key.startswith("out.")}


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, mistakes in CASES.items() for mistake in mistakes], ids=str
)
def test_a_mistake_changes_an_output(monkeypatch: pytest.MonkeyPatch, name: str, mistake: Mistake) -> None:
    expected = reference(name)
    mistake.make(monkeypatch)
    assert max(float((value - expected[key]).abs().max()) for key, value in outputs(name).items()) > 1e-4
