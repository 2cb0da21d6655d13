"""What the backbones see: spectrograms by their formula, pixels by theirs, augmentation within its bounds."""

import numpy as np
import pytest
import torch
import torchaudio

from avfusion.data.feature_spec import AudioTransform, VisualTransform
from avfusion.data.transforms import (
    LogMel,
    augment_clips,
    augment_sound,
    augment_spectrograms,
    downscale,
    mel_filters,
    normalise_clips,
)

LOG_MEL = LogMel(AudioTransform())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chirp(samples=45599):
    moments = np.arange(samples) / 44100
    return torch.from_numpy((0.3 * np.sin(2 * np.pi * (200 + 3000 * moments) * moments)).astype(np.float32))


def triangles(bins, bands, sample_rate):
    """The filters by their definition, in float64: up from one corner to the next, and down to the one after that."""
    mels = np.linspace(0, 2595 * np.log10(1 + sample_rate // 2 / 700), bands + 2)
    corners, bins_hz = 700 * (10 ** (mels / 2595) - 1), np.linspace(0, sample_rate // 2, bins)
    filters = [np.interp(bins_hz, corners[band : band + 3], (0, 1, 0), left=0, right=0) for band in range(bands)]
    return torch.from_numpy(np.stack(filters, axis=1).astype(np.float32))


@pytest.mark.parametrize(("bins", "bands", "rate"), [(513, 64, 44100), (257, 40, 16000), (1025, 128, 48000)])
def test_mel_filters_follow_their_definition(bins, bands, rate):
    filters = mel_filters(bins, bands, rate)
    assert filters.dtype == torch.float32
    torch.testing.assert_close(filters, triangles(bins, bands, rate), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "transform",
    [
        AudioTransform(),
        AudioTransform(sample_rate=16000, n_fft=512, win_length=400, hop_length=160, n_mels=40),
        AudioTransform(sample_rate=48000, n_fft=2048, win_length=1920, hop_length=480, n_mels=128, top_db=60),
    ],
)
def test_spectrograms_equal_those_of_torchaudio(transform):
    mel = torchaudio.transforms.MelSpectrogram(
        transform.sample_rate,
        n_fft=transform.n_fft,
        win_length=transform.win_length,
        hop_length=transform.hop_length,
        n_mels=transform.n_mels,
    )
    decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=transform.top_db)
    sound = torch.stack([chirp(), 0.03 * chirp().flip(0)])
    theirs = (decibels(mel(sound)[:, None]) + transform.offset_db) / transform.scale_db
    assert torch.equal(LogMel(transform)(sound), theirs)


def test_log_mel_follows_its_formula():
    sound = chirp()[None]
    spectrum = torch.stft(
        sound,
        1024,
        hop_length=441,
        win_length=882,
        window=torch.hann_window(882),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = torch.einsum("bft,fm->bmt", spectrum.abs() ** 2, triangles(513, 64, 44100))
    decibels = 10 * torch.log10(power.clamp(min=1e-10))
    decibels = torch.maximum(decibels, decibels.max() - 80)
    log_mel = LOG_MEL(sound)
    assert log_mel.shape == (1, 1, 64, 45599 // 441 + 1)
    torch.testing.assert_close(log_mel[:, 0], (decibels + 14.8) / 19.895, atol=2e-4, rtol=1e-4)


def test_log_mel_golden_values():
    # Means over blocks of 16 bands and 13 frames: the chirp climbs out of the lowest bands.
    blocks = LOG_MEL(chirp()[None])[0, 0].reshape(4, 16, 8, 13).mean(dim=(1, 3))
    golden = torch.tensor(
        [
            [0.4054, -1.1147, -1.3435, -1.3435, -1.3435, -1.3435, -1.3435, -1.2108],
            [-1.0806, -0.2495, -0.2719, -0.5376, -1.2189, -1.3435, -1.3435, -1.1924],
            [-1.2658, -1.3435, -1.3435, -1.2232, -0.6334, -0.5658, -0.6108, -0.4947],
            [-1.3032, -1.3435, -1.3435, -1.3435, -1.3435, -1.3435, -1.3435, -1.1952],
        ]
    )
    torch.testing.assert_close(blocks, golden, atol=2e-3, rtol=0)


def test_a_clip_is_clamped_by_its_own_maximum():
    loud, quiet = chirp(), 3e-2 * chirp().flip(0)
    together = LOG_MEL(torch.stack([loud, quiet, loud]))
    assert torch.equal(together[1:2], LOG_MEL(quiet[None]))
    spread = (together[1].max() - together[1].min()) * 19.895
    assert spread == pytest.approx(80, abs=1e-3)


def test_silence_is_the_floor():
    floor = (10 * np.log10(1e-10) + 14.8) / 19.895
    torch.testing.assert_close(LOG_MEL(torch.zeros(1, 45599)), torch.full((1, 1, 64, 104), floor))


def test_downscale_averages_areas():
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    small = downscale(crops, 56)
    means = crops.reshape(2, 56, 2, 56, 2, 3).mean(axis=(2, 4))
    assert small.shape == (2, 56, 56, 3)
    assert np.abs(small - means).max() <= 0.5
    assert downscale(crops, 112) is crops


def test_pixels_are_normalised_per_channel():
    clips = torch.zeros(1, 8, 4, 4, 3, dtype=torch.uint8)
    clips[..., 0], clips[..., 1], clips[..., 2] = 255, 51, 0
    x = normalise_clips(clips, VisualTransform())
    assert x.shape == (1, 3, 8, 4, 4)
    expected = [(1 - 0.43216) / 0.22803, (0.2 - 0.394666) / 0.22145, (0 - 0.37645) / 0.216989]
    assert x[0, :, 3, 2, 1].tolist() == pytest.approx(expected, rel=1e-5)


def test_augmentation_is_one_draw_per_clip():
    still = torch.randint(40, 200, (6, 1, 28, 28, 3), generator=seeded(), dtype=torch.uint8).expand(6, 8, 28, 28, 3)
    augmented = augment_clips(still, seeded(), shift=2)
    torch.testing.assert_close(augmented, augmented[:, :1].expand_as(augmented))
    assert not torch.equal(augmented[0], augmented[1])
    assert torch.equal(augmented, augment_clips(still, seeded(), shift=2))
    assert 0 <= augmented.min() <= augmented.max() <= 255


def test_without_strength_clips_are_only_flipped():
    clips = torch.randint(0, 256, (40, 8, 14, 14, 3), generator=seeded(), dtype=torch.uint8)
    plain = augment_clips(clips, seeded(1), brightness=0, contrast=0, saturation=0)
    same = [torch.allclose(a, b.float(), atol=1e-2) for a, b in zip(plain, clips, strict=True)]
    mirrored = [torch.allclose(a, b.float().flip(2), atol=1e-2) for a, b in zip(plain, clips, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_brightness_contrast_and_saturation_do_what_they_say():
    clips = torch.randint(60, 160, (32, 8, 8, 8, 3), generator=seeded(), dtype=torch.uint8)
    level = clips.float().mean(dim=(1, 2, 3, 4))
    grey = (clips.float() * torch.tensor([0.299, 0.587, 0.114])).sum(-1)
    off = {"brightness": 0, "contrast": 0, "saturation": 0}

    brighter = augment_clips(clips, seeded(2), **(off | {"brightness": 0.3})).mean(dim=(1, 2, 3, 4)) / level
    assert 0.7 <= brighter.min() < 0.85
    assert 1.15 < brighter.max() <= 1.3
    contrasted = augment_clips(clips, seeded(2), **(off | {"contrast": 0.3}))
    torch.testing.assert_close(contrasted.mean(dim=(1, 2, 3, 4)), level, atol=0.1, rtol=0)
    spread = contrasted.std(dim=(1, 2, 3, 4)) / clips.float().std(dim=(1, 2, 3, 4))
    assert spread.min() < 0.85
    assert spread.max() > 1.15
    saturated = augment_clips(clips, seeded(2), **(off | {"saturation": 0.3}))
    new_grey = (saturated * torch.tensor([0.299, 0.587, 0.114])).sum(-1)
    torch.testing.assert_close(new_grey.mean(dim=(1, 2, 3)), grey.mean(dim=(1, 2, 3)), atol=0.1, rtol=0)


def test_hue_turns_colours_about_grey():
    clips = torch.randint(80, 140, (64, 8, 4, 4, 3), generator=seeded(), dtype=torch.uint8)
    off = {"brightness": 0, "contrast": 0, "saturation": 0}
    # Pixels of one colour, so that flipping moves nothing.
    plain = clips[:, :1, :1, :1].expand(64, 8, 4, 4, 3)
    turned = augment_clips(plain, seeded(2), hue=0.25, **off)[:, 0, 0, 0]
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    before, after = (colours.float() @ to_yiq.T for colours in (plain[:, 0, 0, 0], turned))
    torch.testing.assert_close(after[:, 0], before[:, 0], atol=0.1, rtol=0)  # luma stays
    torch.testing.assert_close(after[:, 1:].norm(dim=1), before[:, 1:].norm(dim=1), atol=0.1, rtol=0)
    angles = [torch.view_as_complex(yiq[:, 1:].contiguous()) for yiq in (before, after)]
    turns = (angles[1] / angles[0]).angle() / (2 * torch.pi)
    assert turns.abs().max() < 0.251
    assert turns.min() < -0.2
    assert turns.max() > 0.2
    grey = torch.full((3, 8, 4, 4, 3), 90, dtype=torch.uint8)
    torch.testing.assert_close(augment_clips(grey, seeded(), hue=0.5, **off), grey.float(), atol=0.05, rtol=0)
    # Without hue nothing is drawn for it.
    one, other = seeded(4), seeded(4)
    assert torch.equal(augment_clips(clips, one), augment_clips(clips, other, hue=0.0))
    assert torch.equal(one.get_state(), other.get_state())


def test_gain_moves_a_spectrogram_by_a_constant():
    sound = chirp().expand(16, -1)
    shift = (LOG_MEL(augment_sound(sound, seeded(), gain_db=6)) - LOG_MEL(sound)) * 19.895
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), atol=2e-2, rtol=0)
    assert -6 <= shift.min() < -2
    assert 2 < shift.max() <= 6.01


def test_specaugment_hides_runs_behind_the_mean():
    spectrograms = torch.randn(64, 1, 64, 125, generator=seeded())
    hidden = augment_spectrograms(spectrograms, seeded(3), bands=8, frames=24, masks=1)
    changed = hidden != spectrograms
    means = spectrograms.mean(dim=(2, 3), keepdim=True).expand_as(spectrograms)
    torch.testing.assert_close(hidden[changed], means[changed])
    bands, frames = changed.all(dim=3)[:, 0], changed.all(dim=2)[:, 0]
    assert torch.equal(changed[:, 0], bands[:, :, None] | frames[:, None, :])
    assert bands.sum(dim=1).max() == 8
    assert frames.sum(dim=1).max() <= 24
    assert frames.sum(dim=1).max() > 18
    assert (bands.int().diff(dim=1).abs().sum(dim=1) <= 2).all()
