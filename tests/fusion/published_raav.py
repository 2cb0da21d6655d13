"""The authors' RAAV for any number of frame modalities, made of this package's parts and filled with seeded weights."""

import torch
from torch import Tensor, nn

from avfusion.fusion import build_fusion
from avfusion.fusion.raav import FrameGate, ReliabilityAwareFusion
from tests.fusion.seeded_references import fill, reference, seeded_state

CASES = ("all", "some", "none")  # of audio masks
MODALITIES = {"raav": ("face", "behaviour"), "raav_one": ("face",)}
PRIORS = {"face": 0.85, "behaviour": 0.15}
NAMES = {
    "audio_projector": "model.audio_encoder",
    "audio_latents": "model.audio_latents.latents",
    "audio_latent_attn": "model.audio_latents.listen",
    "frame_to_audio_attn": "model.audio_latents.look",
    "norm_audio_latents": "model.audio_latents.latent_norm",
    "norm_frame_pre": "model.audio_latents.query_norm",
    "norm_after_audio": "model.audio_latents.frame_norm",
    "temporal_encoder.layers.0.self_attn.in_proj_weight": "model.layers.0.projections.weight",
    "temporal_encoder.layers.0.self_attn.in_proj_bias": "model.layers.0.projections.bias",
    "temporal_encoder.layers.0.self_attn.out_proj": "model.layers.0.output",
    "temporal_encoder.layers.0.norm1": "model.layers.0.attention_norm",
    "temporal_encoder.layers.0.norm2": "model.layers.0.mlp_norm",
    "temporal_encoder.layers.0.linear1": "model.layers.0.mlp.0",
    "temporal_encoder.layers.0.linear2": "model.layers.0.mlp.2",
    "head": "model.head",
    "frame_projectors": "projectors",
}
OURS_ALONE = ("model.audio_mean", "model.audio_scale", "model.visual_")


class PublishedRAAV(nn.Module):
    """The network of `raav` (two frame modalities and predictions) or `raav_one` (the face alone)."""

    def __init__(self, name: str, state: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.given = reference(name)
        self.modalities = MODALITIES[name]
        state = seeded_state(name) if state is None else state
        priors = state.pop("modality_log_priors")
        self.projectors = nn.ModuleDict({m: nn.Linear(self._features(m).shape[-1], 24) for m in self.modalities})
        self.gate = FrameGate(24, [PRIORS[m] for m in self.modalities], 0.1)
        torch.testing.assert_close(self.gate.log_priors, priors, atol=1e-6, rtol=0)
        sizes = {"audio_dim": self._features("audio").shape[-1], "visual_dim": 1, "length": 9}
        model = build_fusion("raav", **sizes, encoder_width=24, heads=4, latents=3, frames="visual", place=False)
        assert isinstance(model, ReliabilityAwareFusion)
        self.model = model
        gates = {f"frame_gate_mlps.{modality}": f"gate.scorers.{i}" for i, modality in enumerate(self.modalities)}
        fill(self, NAMES | gates, state, OURS_ALONE)
        self.eval()

    @torch.no_grad()
    def forward(self, case: str) -> dict[str, Tensor]:
        """Intermediates and outputs with one of the masks of sound, by their names in the reference."""
        audible, valid = self.given[f"in.valid_audio_{case}"], self.given["in.not_padded"]
        masks = torch.stack([self.given[f"in.valid_{m}"] for m in self.modalities], dim=-1)
        sound = torch.where(audible[..., None], self.model.audio_encoder(self._features("audio")), 0)
        parts = torch.stack([self.projectors[m](self._features(m)) for m in self.modalities], dim=2)
        parts = torch.where(masks[..., None], parts, 0)
        found = {}
        scores = [scorer(parts[:, :, i]) for i, scorer in enumerate(self.gate.scorers)]
        for i, modality in enumerate(self.modalities):
            found |= {f"mid.x_{modality}": parts[:, :, i], f"mid.mlp_{modality}": scores[i][..., 0]}
        found["mid.logits"] = torch.where(masks, torch.cat(scores, dim=-1) + self.gate.log_priors, -1e4)
        found["mid.X"], found["mid.alpha"] = self.gate(parts, masks)
        inner: list[Tensor] = []
        hooks = [
            self.model.audio_latents.look.register_forward_pre_hook(lambda _, given: inner.append(given[1])),
            self.model.audio_latents.register_forward_hook(lambda _, given, out: inner.append(out[0])),
        ]
        seen = masks.any(dim=-1)
        out = self.model.fuse_frames(found["mid.X"], sound, audible, seen, valid, {})
        for hook in hooks:
            hook.remove()
        latents, heard = inner
        assert out.attended_visual is not None
        if audible.any():
            found |= {
                f"mid.{case}.A": sound,
                f"mid.{case}.map_latent": out.maps["latent_attention"],
                f"mid.{case}.map_frame": out.maps["frame_attention"],
            }
        return found | {
            f"mid.{case}.Z": latents,
            f"mid.{case}.X1": torch.where(seen[..., None], heard, 0),
            f"mid.{case}.Y": out.attended_visual,
            f"out.{case}.y": out.predictions,
        }

    def results(self) -> dict[str, Tensor]:
        """All that the reference holds beside inputs; maps are means over heads."""
        return {key: value for case in CASES for key, value in self(case).items()}

    def _features(self, name: str) -> Tensor:
        own = [self.given[key] for key in (f"in.{name}", f"in.{name}_prediction") if key in self.given]
        return torch.cat(own, dim=-1)
