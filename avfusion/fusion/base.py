"""Base of all fusion models: the call, masks, standardisation, encoders and heads."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from avfusion.fusion.neutral import Attending, make_neutral, neutralised
from avfusion.runtime.errors import BadInputError


@dataclass
class FusionOutput:
    """Output of a fusion model.

    Attributes:
        predictions: (B, L, 2) valence and arousal; undefined at padded clips.
        attended_audio: (B, L, d) audio after the model's attention, or None.
        attended_visual: (B, L, d) likewise.
    """

    predictions: torch.Tensor
    attended_audio: torch.Tensor | None = None
    attended_visual: torch.Tensor | None = None
    maps: dict[str, torch.Tensor] = field(default_factory=dict)


torch.export.register_dataclass(FusionOutput)


class FusionModel(Attending):
    """Base of all fusion models: features of both streams in, valence and arousal per clip out.

    A model's own options are the keyword-only arguments of its `__init__`, each with a type (see
    `avfusion.runtime.options`) and a default.

    Attributes:
        options: all of the model's own options; set by `build_fusion`.
        fixed_sizes: required values of `audio_dim`, `visual_dim`, `length` and `map_side` (rows and columns of the
            visual map); empty if any will do.
        neutral_form: what `neutralised` does to this model's attention, in words; "": the model has no attention.
        gate_maps: names of those `maps` that are gates, (B, L, channels), which `neutralised` holds at their mean.
        frame_level: whether the model comes from code that reads windows of frames, and reads them here too if
            `features.layout` is frames; or those values of its options, by name, with which it does.
        control_model: the model, with its options, that is this one without attention; empty: this one with `attention`
            false, if it has that option.

    Features are standardised by statistics of the training split, kept in the model's buffers (identity until
    `set_standardisation`), so that a model takes features as stored.
    """

    name: str = "fusion"
    options: dict[str, Any]
    streams: ClassVar[tuple[str, ...]] = ("audio", "visual")
    takes_maps: ClassVar[bool] = False
    fixed_sizes: ClassVar[Mapping[str, int]] = {}
    neutral_form: ClassVar[str] = ""
    gate_maps: ClassVar[tuple[str, ...]] = ()
    frame_level: ClassVar[bool | Mapping[str, tuple[str, ...]]] = False
    control_model: ClassVar[Mapping[str, Any]] = {}
    audio_mean: torch.Tensor
    audio_scale: torch.Tensor
    visual_mean: torch.Tensor
    visual_scale: torch.Tensor

    def __init__(self, audio_dim: int, visual_dim: int, length: int) -> None:
        super().__init__()
        self.audio_dim, self.visual_dim, self.length = audio_dim, visual_dim, length
        for stream, width in (("audio", audio_dim), ("visual", visual_dim)):
            self.register_buffer(f"{stream}_mean", torch.zeros(width))
            self.register_buffer(f"{stream}_scale", torch.ones(width))

    def config(self) -> dict[str, Any]:
        """Keyword arguments for `build_fusion` that make this model again."""
        sizes = {"audio_dim": self.audio_dim, "visual_dim": self.visual_dim, "length": self.length}
        return {"name": self.name, **sizes, **self.options}

    def neutralised(self, gates: Mapping[str, torch.Tensor] | None = None) -> AbstractContextManager[None]:
        """A context in which attention is neutral, as `neutral_form` says, whatever the inputs.

        Args:
            gates: value (channels,) at which each gate is held, by its name in `maps`; default: uniform.
        """
        return neutralised(self, gates or {})

    def train_without_attention(self) -> None:
        """Make attention neutral and gates uniform for good; for the option `attention`, at the end of `__init__`."""
        make_neutral(self, {})

    def set_standardisation(
        self, audio_mean: torch.Tensor, audio_std: torch.Tensor, visual_mean: torch.Tensor, visual_std: torch.Tensor
    ) -> None:
        """Set mean and standard deviation of the training split, (D,) each; constant features stay unscaled."""
        statistics = {"audio": (audio_mean, audio_std), "visual": (visual_mean, visual_std)}
        for stream, (mean, std) in statistics.items():
            getattr(self, f"{stream}_mean").copy_(mean)
            getattr(self, f"{stream}_scale").copy_(torch.where(std > 1e-6, 1 / std.clamp_min(1e-6), 1.0))

    def forward(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor | None = None,
        visual_present: torch.Tensor | None = None,
        padding: torch.Tensor | None = None,
    ) -> FusionOutput:
        """Fuse one batch of sequences.

        Args:
            audio: (B, L, D_a) features.
            visual: (B, L, D_v) features, or (B, L, C, H, W) maps, which are averaged over H and W
                (`released_coattention` takes unpooled maps only).
            audio_present: (B, L) bool, False where the clip has no audio. None: all present.
            visual_present: (B, L) bool likewise.
            padding: (B, L) bool, True at clips that only pad the sequence. None: no padding.

        Raises:
            ValueError: shapes do not fit the model.
            BadInputError: the model predicts anything but (B, L, 2).
        """
        visual = self._arrange(visual)
        self._check(audio, visual)
        valid = torch.ones(audio.shape[:2], dtype=torch.bool, device=audio.device) if padding is None else ~padding
        audio_present = valid if audio_present is None else audio_present & valid
        visual_present = valid if visual_present is None else visual_present & valid
        fused = self.fuse(
            self._standardise(audio, self.audio_mean, self.audio_scale, audio_present),
            self._standardise(visual, self.visual_mean, self.visual_scale, visual_present),
            audio_present,
            visual_present,
            valid,
        )
        if not isinstance(fused, FusionOutput):
            kind = type(fused).__name__
            raise BadInputError(f"fusion model {self.name}: `fuse` returns {kind}, must return a FusionOutput")
        if fused.predictions.shape != (*valid.shape, 2):
            shape, wanted = tuple(fused.predictions.shape), (*valid.shape, 2)
            raise BadInputError(f"fusion model {self.name}: predictions are {shape}, must be {wanted}")
        return fused

    @abstractmethod
    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """Fuse standardised features (B, L, D), zero where absent; the masks (B, L) are bool, `valid` = not padded."""

    @property
    def visual_width(self) -> int:
        """Width of the visual features for `fuse`."""
        return self.visual_dim

    def _arrange(self, visual: torch.Tensor) -> torch.Tensor:
        return visual.mean(dim=(3, 4)) if visual.ndim == 5 else visual

    def _check(self, audio: torch.Tensor, visual: torch.Tensor) -> None:
        for stream, features, width in (("audio", audio, self.audio_dim), ("visual", visual, self.visual_width)):
            if features.ndim != 3 or features.shape[1:] != (self.length, width):
                raise ValueError(
                    f"{stream} features have shape {tuple(features.shape)}, "
                    f"{self.name} takes (B, {self.length}, {width})"
                )

    @staticmethod
    def _standardise(
        features: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        # The values of an absent clip, NaN included, must not reach the model.
        return torch.where(present[..., None], (features.to(mean.dtype) - mean) * scale, 0)


class StreamEncoder(nn.Module):
    """Linear encoder shared over time; absent clips become the stream's learnt token, padded clips zero.

    The masks act after the encoder, whose bias would turn a zero input into a signal.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, width)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, features: torch.Tensor, present: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, L, dim) → (B, L, width); `present` implies `valid`."""
        encoded = self.linear(features)
        return torch.where(present[..., None], encoded, self.missing.to(encoded.dtype) * valid[..., None])


class TwoStreamModel(FusionModel):
    """Base of models that encode both streams to one width, then fuse the encodings.

    Args:
        faithful: the network of the paper's authors, in the place of encoders and `fuse_encoded`: it is called as
            `fuse`. None: there is none.
    """

    def __init__(
        self, audio_dim: int, visual_dim: int, length: int, encoder_width: int, faithful: nn.Module | None = None
    ) -> None:
        super().__init__(audio_dim, visual_dim, length)
        self.faithful = faithful
        if faithful is None:
            self.audio_encoder = StreamEncoder(audio_dim, encoder_width)
            self.visual_encoder = StreamEncoder(visual_dim, encoder_width)

    def fuse(
        self,
        audio: torch.Tensor,
        visual: torch.Tensor,
        audio_present: torch.Tensor,
        visual_present: torch.Tensor,
        valid: torch.Tensor,
    ) -> FusionOutput:
        """See `FusionModel.fuse`."""
        if self.faithful is not None:
            fused: FusionOutput = self.faithful(audio, visual, audio_present, visual_present, valid)
            return fused
        x_a = self.audio_encoder(audio, audio_present, valid)
        x_v = self.visual_encoder(visual, visual_present, valid)
        return self.fuse_encoded(x_a, x_v, valid)

    @abstractmethod
    def fuse_encoded(self, x_a: torch.Tensor, x_v: torch.Tensor, valid: torch.Tensor) -> FusionOutput:
        """Fuse audio and visual encodings (B, L, width): the stream's token if absent, zero if not `valid`."""


def masked_softmax(scores: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis, zero where not `valid` (broadcast); uniform if nothing is valid."""
    return scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(dim=-1)


class RegressionHeads(nn.Module):
    """One head per target: Linear, Dropout, Linear (arXiv 2209.09068); (B, L, dim) → (B, L, 2).

    Args:
        relu: a ReLU stands behind the first Linear; a model's option `head` says so by `linear` or `relu`.
    """

    def __init__(self, dim: int, hidden: int = 128, dropout: float = 0.6, relu: bool = False) -> None:
        super().__init__()
        activation = [nn.ReLU()] if relu else []
        self.valence, self.arousal = (
            nn.Sequential(nn.Linear(dim, hidden), *activation, nn.Dropout(dropout), nn.Linear(hidden, 1))
            for _ in range(2)
        )

    def forward(self, features: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L, dim) → (B, L, 2): valence, arousal; clips do not interact, so `valid` (B, L) does not matter."""
        return torch.cat([self.valence(features), self.arousal(features)], dim=-1)
