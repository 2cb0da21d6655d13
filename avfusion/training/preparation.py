"""What lies between stored clips and a backbone: transforms and, in training, augmentation."""

from collections.abc import Callable

import torch
from torch import Tensor

from avfusion.data.feature_spec import AudioTransform, VisualTransform
from avfusion.data.transforms import LogMel, augment_clips, augment_sound, augment_spectrograms, normalise_clips

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]


def visual_preparation(transform: VisualTransform, *, hue: float = 0.0) -> Prepare:
    """Crops (B, 8, S, S, 3) uint8 → network input; augmented where a generator is given."""
    shift = transform.input_size // 28

    def prepare(clips: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return normalise_clips(clips, transform)
        return normalise_clips(augment_clips(clips, generator, hue=hue, shift=shift), transform)

    return prepare


def audio_preparation(transform: AudioTransform) -> Prepare:
    """Sound (B, samples) → network input; augmented where a generator is given."""
    log_mel = LogMel(transform)

    def prepare(sound: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return log_mel(sound)
        return augment_spectrograms(log_mel(augment_sound(sound, generator)), generator)

    return prepare
