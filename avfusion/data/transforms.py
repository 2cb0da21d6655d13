"""Transforms from crops and sound to the inputs of backbones, and the augmentation of training."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from avfusion.data.feature_spec import AudioTransform, VisualTransform

FAINTEST_POWER = 1e-10


def downscale(crops: np.ndarray, size: int) -> np.ndarray:
    """Shrink RGB crops (n, H, W, 3) uint8 to (n, size, size, 3) uint8 by averaging areas."""
    if crops.shape[1:3] == (size, size):
        return crops
    small: np.ndarray = np.empty((len(crops), size, size, 3), dtype=np.uint8)
    for index, crop in enumerate(crops):
        small[index] = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return small


def normalise_clips(clips: Tensor, transform: VisualTransform) -> Tensor:
    """RGB clips (B, 8, S, S, 3) uint8 → (B, 3, 8, S, S) float32.

    Contiguous: in channels-last order oneDNN's gradients of narrow convolutions wrote outside their memory (torch 2.11,
    12 channels, 2 threads), and were hardly faster.
    """
    return normalise_crops(clips, transform).permute(0, 4, 1, 2, 3).contiguous()


def normalise_crops(crops: Tensor, transform: VisualTransform) -> Tensor:
    """RGB crops (…, S, S, 3) in [0, 255] → float32 of the same shape, normalised by the transform."""
    mean = torch.tensor(transform.mean, device=crops.device)
    std = torch.tensor(transform.std, device=crops.device)
    return (crops.float() / 255 - mean) / std


def augment_clips(
    clips: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.0,
    shift: int = 0,
) -> Tensor:
    """Jitter colours and flip, with one draw per clip so that nothing flickers.

    Args:
        clips: (B, 8, S, S, 3) uint8.
        brightness, contrast, saturation: largest relative change, drawn evenly from both sides.
        hue: largest rotation of hue, as a share of the circle, likewise; 0: nothing is drawn.
        shift: largest translation in pixels, in both directions; edges are repeated.

    Returns:
        (B, 8, S, S, 3) float32 in [0, 255].
    """
    count, _, size = clips.shape[:3]
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.arange(size).expand(count, size)
    columns = torch.where(flipped, size - 1 - columns, columns)
    rows = torch.arange(size).expand(count, size)
    if shift:
        moves = torch.randint(-shift, shift + 1, (count, 2), generator=generator)
        rows = (rows + moves[:, :1]).clamp(0, size - 1)
        columns = (columns + moves[:, 1:]).clamp(0, size - 1)
    pixels = torch.stack([clip[:, row][:, :, column] for clip, row, column in zip(clips, rows, columns, strict=True)])
    pixels = pixels.float().reshape(count, -1, 3)

    def factors(strength: float) -> Tensor:
        return 1 + strength * (2 * torch.rand(count, 1, 1, generator=generator) - 1)

    # All are linear in a pixel's colour c, so they are one matrix per clip: brightness b c; contrast about the clip's
    # mean level m, m + k (c - m); saturation g + s (c - g) about the pixel's grey g; hue turns colours about the grey
    # axis.
    b, k, s = factors(brightness), factors(contrast), factors(saturation)
    to_grey = torch.tensor([0.299, 0.587, 0.114])[:, None].expand(3, 3)
    matrix = b * k * (s * torch.eye(3) + (1 - s) * to_grey)
    if hue:
        matrix = matrix @ _hue_rotations(2 * torch.pi * (factors(hue) - 1))
    level = b * (1 - k) * pixels.mean(dim=(1, 2), keepdim=True)
    return torch.baddbmm(level.expand(count, 1, 3), pixels, matrix).clamp_(0, 255).reshape(clips.shape)


def _hue_rotations(angles: Tensor) -> Tensor:
    """Matrices (B, 3, 3) that rotate RGB rows about the grey axis by angles (B, 1, 1), in YIQ, which keeps luma."""
    to_yiq = torch.tensor([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]])
    turn = torch.eye(3).repeat(len(angles), 1, 1)
    cosine, sine = angles.cos()[:, 0, 0], angles.sin()[:, 0, 0]
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cosine, sine, -sine, cosine
    return to_yiq @ turn @ torch.linalg.inv(to_yiq)


class LogMel(torch.nn.Module):
    """Log-mel spectrograms of equally long clips, each clamped relative to its own maximum."""

    window: Tensor
    filters: Tensor

    def __init__(self, transform: AudioTransform) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("window", torch.hann_window(transform.win_length))
        self.register_buffer("filters", mel_filters(transform.n_fft // 2 + 1, transform.n_mels, transform.sample_rate))

    @torch.no_grad()
    def forward(self, sound: Tensor) -> Tensor:
        """Sound (B, samples) in [-1, 1] → (B, 1, bands, T) with T = samples // hop + 1."""
        transform = self.transform
        spectrum = torch.stft(
            sound,
            transform.n_fft,
            hop_length=transform.hop_length,
            win_length=transform.win_length,
            window=self.window,
            return_complex=True,
        )
        power = torch.matmul(spectrum.abs().pow(2).transpose(1, 2), self.filters).transpose(1, 2)[:, None]
        decibels = 10 * torch.log10(power.clamp(min=FAINTEST_POWER))
        decibels = torch.maximum(decibels, decibels.amax(dim=(1, 2, 3), keepdim=True) - transform.top_db)
        return (decibels + transform.offset_db) / transform.scale_db


def mel_filters(bins: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular filters (bins, bands) float32 from a spectrum of 0 to `sample_rate` / 2 Hz to bands of the mel scale.

    The mel scale is that of HTK, 2595 log10(1 + f / 700), and the peak of every filter is 1, as in torchaudio.
    """
    highest = sample_rate // 2
    corners = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + highest / 700), bands + 2) / 2595) - 1)  # Hz
    widths = corners.diff()
    above = corners - torch.linspace(0, highest, bins)[:, None]
    return torch.minimum(-above[:, :-2] / widths[:-1], above[:, 2:] / widths[1:]).clamp(min=0)


def augment_sound(sound: Tensor, generator: torch.Generator, *, gain_db: float = 2.0, noise_db: float = 0.0) -> Tensor:
    """Change each clip's level (B, samples) by up to `gain_db` either way and add hiss.

    `noise_db`: adds white noise at a level from this many to 60 dB below full scale; 0: no noise.
    """
    decibels = gain_db * (2 * torch.rand(len(sound), 1, generator=generator) - 1)
    louder = sound * 10 ** (decibels / 20)
    if not noise_db:
        return louder
    level = -60 + (60 - noise_db) * torch.rand(len(sound), 1, generator=generator)
    return louder + 10 ** (level / 20) * torch.randn(sound.shape, generator=generator)


def augment_spectrograms(
    spectrograms: Tensor, generator: torch.Generator, *, bands: int = 6, frames: int = 12, masks: int = 1
) -> Tensor:
    """SpecAugment (arXiv 1904.08779): replace runs of bands and of frames by the clip's mean.

    Args:
        spectrograms: (B, 1, bands, T).
        bands, frames: longest run of a mask.
        masks: number of masks of either kind.
    """
    count, _, height, width = spectrograms.shape
    hidden = torch.zeros(count, 1, height, width, dtype=torch.bool)
    for _ in range(masks):
        hidden |= _runs(count, height, bands, generator)[:, None, :, None]
        hidden |= _runs(count, width, frames, generator)[:, None, None, :]
    return torch.where(hidden, spectrograms.mean(dim=(2, 3), keepdim=True), spectrograms)


def _runs(count: int, size: int, longest: int, generator: torch.Generator) -> Tensor:
    """(count, size) bool, with one run of length 0 to `longest` per row."""
    length = torch.randint(0, longest + 1, (count, 1), generator=generator)
    start = (torch.rand(count, 1, generator=generator) * (size - length + 1).clamp(min=1)).floor()
    at = torch.arange(size)
    return (at >= start) & (at < start + length)
