"""Reliability-aware audio-visual fusion: gated frames look at latents of the sound (Team RAS, arXiv 2603.13056)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt
from torch import nn
from torch.nn import functional as F

from avfusion.fusion.base import FusionModel, FusionOutput, RegressionHeads, StreamEncoder, masked_softmax
from avfusion.fusion.neutral import Attending
from avfusion.fusion.registry import register_fusion
from avfusion.fusion.self_attention import TransformerLayer
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import Count, Share


class FrameGate(Attending):
    """Sum of what is seen of a frame, each part weighted by its reliability and its prior π:

    ℓ_m = MLP_m(x_m) + log π_m,   α = softmax_m(ℓ),   X = Σ_m α_m x_m
    """

    log_priors: torch.Tensor

    def __init__(self, width: int, priors: Sequence[float], dropout: float) -> None:
        super().__init__()
        self.scorers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)) for _ in priors
        )
        self.register_buffer("log_priors", (torch.tensor(priors) / sum(priors)).log(), persistent=False)

    def forward(self, parts: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Parts (B, L, M, width), valid (B, L, M) → X (B, L, width), α (B, L, M); both are zero where none is valid."""
        scores = [scorer(part) for scorer, part in zip(self.scorers, parts.unbind(dim=2), strict=True)]
        gates = masked_softmax(torch.cat(scores, dim=-1) + self.log_priors, valid) * valid
        if self.neutral is not None:
            held = self.hold("gates", gates) * valid
            gates = held / held.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(held.dtype).tiny)
        return (gates[..., None] * parts).sum(dim=2), gates


class AudioLatents(Attending):
    """Frames attend to a few latents, which attend to all sound of the sequence. With the frames X and the sound A:

        Z = LN(Z₀ + MHA(q = Z₀, k = v = A)),   X' = LN(X + MHA(q = LN(X), k = v = Z))

    In a sequence without sound Z = Z₀ and X' = X.
    """

    def __init__(self, width: int, heads: int, latents: int, dropout: float) -> None:
        super().__init__()
        self.latents = nn.Parameter(0.02 * torch.randn(1, latents, width))  # Z₀
        self.listen = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.look = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.latent_norm, self.query_norm, self.frame_norm = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, frames: torch.Tensor, sound: torch.Tensor, audible: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Let frames hear the sound of their sequence.

        Args:
            frames: (B, L, width).
            sound: (B, T, width).
            audible: (B, T) bool.

        Returns:
            X' (B, L, width); the latents' attention to the sound (B, latents, T) and the frames' to the latents
            (B, L, latents), each the mean over heads, zero in a sequence without sound.
        """
        heard = audible.any(dim=1)[:, None]
        start = self.latents.expand(frames.shape[0], -1, -1)
        # In a sequence without sound nothing is masked: a softmax over nothing is NaN.
        attended, of_latents = self._attend(self.listen, start, sound, heard & ~audible)
        latents = torch.where(heard[..., None], self.latent_norm(start + attended), start)
        attended, of_frames = self._attend(self.look, self.query_norm(frames), latents)
        fused = torch.where(heard[..., None], self.frame_norm(frames + attended), frames)
        return fused, of_latents * heard[..., None], of_frames * heard[..., None]

    def _attend(
        self,
        attention: nn.MultiheadAttention,
        query: torch.Tensor,
        values: torch.Tensor,
        masked: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend (B, N, width) to values (B, T, width), some of them `masked` (B, T): (B, N, width), (B, N, T)."""
        if self.neutral is None:
            attended, weights = attention(query, values, values, key_padding_mask=masked)
            return attended, weights
        used = torch.ones_like(values[..., 0]) if masked is None else (~masked).to(values.dtype)
        weights = (used / used.sum(dim=1, keepdim=True))[:, None]
        _, _, to_value = attention.in_proj_weight.chunk(3)
        mean = F.linear(weights @ values, to_value, attention.in_proj_bias.chunk(3)[2])
        rows = query.shape[1]
        return attention.out_proj(mean).expand(-1, rows, -1), weights.expand(-1, rows, -1)


@register_fusion("raav")
class ReliabilityAwareFusion(FusionModel):
    """Visual frames attend to latents of the sound, then to each other (a transformer); sound that is absent is masked.

    A frame is the encoding of a clip's face, a token where there is none; with `frames: both` a gate mixes it with the
    clip's own sound by reliability. Through the latents all frames hear the sequence as a whole: four of them cannot
    tell each of 16 clips what sounded in it (`frames: visual` ends the overfit gate at a CCC of .8).

    Args:
        encoder_width: width of frames, sound and latents.
        heads: attention heads, a divisor of `encoder_width`.
        latents: number of latents of the sound.
        layers: of the transformer.
        frames: what makes a frame: `visual`, as published without a further visual stream, or `both` streams.
        visual_prior: prior reliability of the face, with `frames: both`; the sound has the rest.
        place: learnt vectors for a clip's position in the sequence, which the published form lacks.
        attention_dropout: dropout of attention, gate and transformer.
        dropout: dropout in the head.
        head: `gelu`: normalised frames, then two linear layers with a GELU in between, for both targets; `linear`,
            `relu`: see `RegressionHeads`.
        attention: false trains the control: weights and gates are uniform, in training and after.
    """

    neutral_form = "uniform weights, gates at their mean"
    gate_maps = ("gates",)
    frame_level = True

    def __init__(
        self,
        *,
        audio_dim: int = 512,
        visual_dim: int = 512,
        length: int = 16,
        encoder_width: Count = 128,
        heads: Count = 4,
        latents: Count = 4,
        layers: Count = 1,
        frames: Literal["visual", "both"] = "both",
        visual_prior: Annotated[float, Gt(0), Lt(1)] = 0.85,
        place: bool = True,
        attention_dropout: Share = 0.1,
        dropout: Share = 0.6,
        head: Literal["gelu", "linear", "relu"] = "gelu",
        attention: bool = True,
    ) -> None:
        if encoder_width % heads:
            raise BadInputError(f"{self.name}: heads is {heads}: must be a divisor of encoder_width ({encoder_width})")
        super().__init__(audio_dim, visual_dim, length)
        self.visual_encoder = StreamEncoder(visual_dim, encoder_width)
        self.audio_encoder = nn.Linear(audio_dim, encoder_width)
        self.place = nn.Parameter(0.02 * torch.randn(length, encoder_width)) if place else None
        priors = (1 - visual_prior, visual_prior)
        self.gate = FrameGate(encoder_width, priors, attention_dropout) if frames == "both" else None
        self.audio_latents = AudioLatents(encoder_width, heads, latents, attention_dropout)
        self.layers = nn.ModuleList(TransformerLayer(encoder_width, heads, attention_dropout) for _ in range(layers))
        self.head: nn.Module = (
            nn.Sequential(
                nn.LayerNorm(encoder_width),
                nn.Linear(encoder_width, encoder_width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(encoder_width, 2),
            )
            if head == "gelu"
            else RegressionHeads(encoder_width, encoder_width, dropout, relu=head == "relu")
        )
        if not attention:
            self.train_without_attention()

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`.

        `maps` holds the attention of latents to sound (B, latents, L) and of frames to latents (B, L, latents), of each
        layer of the transformer (B, heads, L, L), and with `frames: both` the gates (B, L, 2: audio, visual).
        """
        frames = self.visual_encoder(visual, visual_present, valid)
        sound = self.audio_encoder(audio)
        if self.place is not None:
            frames, sound = frames + self.place, sound + self.place
        sound = torch.where(audio_present[..., None], sound, 0)
        maps = {}
        if self.gate is not None:
            parts = torch.stack([sound.to(frames.dtype), frames], dim=2)
            seen = torch.stack([audio_present, valid], dim=-1)  # a missing face is its token
            frames, maps["gates"] = self.gate(parts, seen)
        return self.fuse_frames(frames, sound, audio_present, valid, valid, maps)

    def fuse_frames(
        self,
        frames: torch.Tensor,
        sound: torch.Tensor,
        audible: torch.Tensor,
        seen: torch.Tensor,
        valid: torch.Tensor,
        maps: dict[str, torch.Tensor],
    ) -> FusionOutput:
        """Fuse frames (B, L, width) and sound (B, T, width); `audible` (B, T), `seen` and `valid` (B, L) are bool.

        Frames that are not `seen` enter the transformer as zeros; frames that are not `valid` are no part of it.
        """
        frames, maps["latent_attention"], maps["frame_attention"] = self.audio_latents(frames, sound, audible)
        frames = torch.where(seen[..., None], frames, 0)
        for number, layer in enumerate(self.layers, start=1):
            frames, maps[f"attention_{number}"] = layer(frames, valid)
        frames = torch.where(valid[..., None], frames, 0)
        return FusionOutput(self.head(frames), attended_visual=frames, maps=maps)
