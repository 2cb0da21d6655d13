"""Which channels of an audio track are heard: one rule for training and prediction.

The average of all channels is heard, as FFmpeg's own downmix would add 3 dB and clip, unless the average would change
the speech: channels with little sound would make it quieter, channels of opposite sign would cancel it. The rule looks
at the whole track above 300 Hz, so that hum counts for nothing and a track is heard in one way from beginning to end.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from av.audio.layout import AudioLayout

from avfusion.media.audio_filters import audio_windows
from avfusion.media.opener import open_media
from avfusion.runtime.errors import BadInputError

MOST_CHANNELS = 64  # the most that FFmpeg's filters accept
FULLY, NOT = 0.5, 0.25  # amplitudes beside the loudest channel's from which a channel counts fully, and not at all
LOUD_PERCENT = 98  # a channel's level is that of its loud moments: somebody who says little counts, hiss does not
EMPTY = 1e-2  # of the power of the channel beside it, in a window: 20 dB below
CANCELLED = 0.5  # of the average's power if the channels were unrelated
OPPOSED = 0.1  # the same of two channels, for half a second
LOUDER = 1.25  # times the power: 1 dB; the first of channels that are nearer to each other is chosen
PART = 0.05  # of a channel's power: too much to be changed
SAME, SIMILAR = 0.9, 4.0  # correlation and ratio of the powers of two channels with the same sound
IN_TURNS = 0.9  # of the power in loud windows
WINDOW_S, PARTS = 0.5, 10
UNNAMED = {6: "5.1", 8: "7.1"}  # FFmpeg's layouts by the number of channels: Matroska and plain WAV name none of PCM's
_SIDES = ("left", "right")


@dataclass(frozen=True)
class HeardChannels:
    """The channels of a track that are heard.

    Attributes:
        weights: Of each channel that is heard, by its index.
        note: Why some are not; empty if all are.
    """

    weights: Mapping[int, float]
    note: str = ""

    def mix(self) -> str:
        """The weighted sum as an expression of FFmpeg's filter `pan`."""
        return "+".join(f"{weight!r}*c{index}" for index, weight in self.weights.items())


def average(total: int) -> HeardChannels:
    """All channels, as many as there are, heard alike."""
    return HeardChannels(dict.fromkeys(range(total), 1 / total))


def alone(channel: int, note: str) -> HeardChannels:
    """One channel heard without the others, and why."""
    return HeardChannels({channel: 1.0}, note)


@dataclass
class ChannelPowers:
    """Sums over the samples of C channels.

    Attributes:
        products: (C, C) sums of the products of every two channels; on the diagonal the channels' powers.
        alone: (C, C) power of channel i in windows of half a second where channel j is empty beside it.
        together: (C, C) power of channel i in windows where neither is empty beside the other.
        shared: (C, C) sums of products in the windows of `together`.
        opposed: (C, C) power of channel i in windows where channel j cancels it.
        windows: mean squares of the tenths of each window, (10, C) or fewer.
    """

    products: np.ndarray
    alone: np.ndarray = field(init=False)
    together: np.ndarray = field(init=False)
    shared: np.ndarray = field(init=False)
    opposed: np.ndarray = field(init=False)
    windows: list[np.ndarray] = field(default_factory=list)

    @property
    def levels(self) -> np.ndarray:
        """(C,) mean squares of each channel in its loud windows."""
        if not self.windows:
            return np.zeros(len(self.products))
        return np.asarray(np.percentile([parts.mean(axis=0) for parts in self.windows], LOUD_PERCENT, axis=0))

    def __post_init__(self) -> None:
        self.alone, self.together, self.shared, self.opposed = (np.zeros_like(self.products) for _ in range(4))

    def add(self, window: np.ndarray) -> None:
        """Add a window of samples (C, n)."""
        samples = window.astype(np.float64)
        products = samples @ samples.T
        power = np.diag(products)
        beside_nothing = power[None] < EMPTY * power[:, None]  # channel j is empty beside channel i
        both = ~(beside_nothing | beside_nothing.T)
        sums = power[:, None] + power[None]
        parts = np.array_split(samples**2, min(PARTS, samples.shape[1]), axis=1)
        self.windows.append(np.stack([part.mean(axis=1) for part in parts]))
        self.products += products
        self.alone += np.where(beside_nothing, power[:, None], 0.0)
        self.together += np.where(both, power[:, None], 0.0)
        self.shared += np.where(both, products, 0.0)
        self.opposed += np.where(sums + 2 * products < OPPOSED * sums, power[:, None], 0.0)


def heard_channels(names: Sequence[str], powers: ChannelPowers) -> HeardChannels:
    """Decide which channels are heard.

    1. The low-frequency channel holds no speech. Others count fully down to 6 dB below the loudest, less and less below
       that, and not at all from 12 dB on: what leaks into a channel must not make the speech quieter.
    2. Of a layout with a centre that counts, the centre alone is heard, where films have the speech.
    3. Channels whose average would have less than half the power of unrelated ones cancel each other, as with a swapped
       wire, and so do two channels that cancel each other (by 10 dB) for a part of the sound: the loudest is heard.
    4. Two channels that sound in turns (12 dB above the other), as two people on two microphones, are added.
    5. Of two channels with the same sound the louder one is heard, or the one that has it all the time.
    6. Else the average of the channels that count is heard: what different microphones hear stays mixed.

    Six or eight channels without names are taken as 5.1 or 7.1, unless the loudest would be the low-frequency channel.

    Args:
        names: FFmpeg's names of the channels (`FL`, `FC`, `LFE`, …; `NONE`: not known).
    """
    total, levels = len(names), powers.levels
    if total in UNNAMED and set(names) == {"NONE"}:
        likely = [channel.name for channel in AudioLayout(UNNAMED[total]).channels]
        if not likely[int(np.argmax(levels))].startswith("LFE"):
            heard = heard_channels(likely, powers)
            assumed = f" (its channels have no names: {UNNAMED[total]} is assumed)"
            return replace(heard, note=heard.note and heard.note + assumed)
    speaking = [index for index, name in enumerate(names) if not name.startswith("LFE") and levels[index] > 0]
    if total == 1 or not speaking:
        return average(total)
    counting = _counting(speaking, levels)
    loud = list(counting)
    if len(speaking) == len(_SIDES) and _in_turns(powers, *speaking):
        return HeardChannels(dict.fromkeys(speaking, 1.0), "its two channels sound in turns: added")
    if len(loud) == 1:
        return alone(loud[0], f"its sound is in one of {total} channels: heard from {_told(names, loud)} alone")
    centre = next((index for index in loud if names[index] == "FC"), None)
    if centre is not None:
        return alone(centre, f"of its {total} channels of sound the centre is heard, where speech is")
    loudest = next(index for index in loud if LOUDER * levels[index] >= levels[loud].max())
    if _cancel(powers, loud):
        why = "its channels of sound cancel each other"
        return alone(loudest, f"{why}: heard from {_told(names, [loudest])} alone")
    if len(loud) == len(_SIDES) and (same := _of_same_sound(names, powers, *loud)):
        return same
    weights = {index: weight / sum(counting.values()) for index, weight in counting.items()}
    if len(loud) == total:
        return HeardChannels(weights)
    why = f"of its {total} channels of sound the loud ones are heard"
    bass = " (not LFE, the bass)" if any(name.startswith("LFE") for name in names) else ""
    return HeardChannels(weights, f"{why}: {_told(names, loud)}{bass}")


def _counting(speaking: Sequence[int], levels: np.ndarray) -> dict[int, float]:
    """How much each channel counts, by its index: 1 or less; without those that do not."""
    amplitudes = np.sqrt(levels[speaking] / levels[speaking].max())
    shares = np.clip((amplitudes - NOT) / (FULLY - NOT), 0, 1)
    return {index: float(share) for index, share in zip(speaking, shares, strict=True) if share > 0}


def _cancel(powers: ChannelPowers, channels: Sequence[int]) -> bool:
    products = powers.products[np.ix_(channels, channels)]
    if products.sum() < CANCELLED * np.trace(products):
        return True
    first, second = channels[0], channels[-1]
    return len(channels) == len(_SIDES) and powers.opposed[first, second] > PART * powers.products[first, first]


def _of_same_sound(names: Sequence[str], powers: ChannelPowers, first: int, second: int) -> HeardChannels | None:
    """What is heard of two channels with the same sound; None of others."""
    pair, power = (powers.together[first, second], powers.together[second, first]), np.diag(powers.products)
    if min(pair) <= 0:
        return None
    if powers.shared[first, second] < SAME * float(np.sqrt(pair[0] * pair[1])):
        return None
    for one, other in ((first, second), (second, first)):
        own, others = powers.alone[one, other], powers.alone[other, one]
        if others >= EMPTY * power[other]:  # the other has sound that this one lacks
            continue
        if own >= PART * power[one] and max(pair) <= SIMILAR * min(pair):
            why = "one of its channels of sound comes and goes"
            return alone(one, f"{why}: heard from the other, {_told(names, [one])}, alone")
        if power[one] > LOUDER * power[other]:
            return alone(one, f"its channels have the same sound: heard from the louder, {_told(names, [one])}, alone")
    return None


def _in_turns(powers: ChannelPowers, first: int, second: int) -> bool:
    """Whether nearly all sound of two channels is loud in one and quiet in the other, now here and now there."""
    heard = np.concatenate(powers.windows)[:, [first, second]]
    loud = NOT**2 * powers.levels[[first, second]].max()
    own = (heard >= loud) & (heard * NOT**2 >= heard[:, ::-1])
    lasting = own & (np.roll(own, 1, axis=0) | np.roll(own, -1, axis=0))  # a click is a window
    return bool(lasting.any(axis=0).all() and heard[own].sum() > IN_TURNS * heard[(heard >= loud).any(axis=1)].sum())


def _told(names: Sequence[str], channels: Sequence[int]) -> str:
    """Channels in words: left, right; else by name, or by number where the file names none."""
    if len(names) == len(_SIDES):
        return " and ".join(f"the {_SIDES[index]} one" for index in channels)
    if "NONE" not in names:
        return ", ".join(names[index] for index in channels)
    return f"channel{'s' * (len(channels) > 1)} {', '.join(str(index + 1) for index in channels)}"


def check_channels(number: int, path: str | os.PathLike[str]) -> int:
    """The number of channels.

    Raises:
        BadInputError: there are too many.
    """
    if number > MOST_CHANNELS:
        raise BadInputError(f"{path} has {number} channels of audio, must be at most {MOST_CHANNELS}: mix it")
    return number


def measure_channels(path: str | os.PathLike[str], index: int) -> Mapping[str, HeardChannels]:
    """The channels heard of an audio track, by channel layout, since that may change within a track.

    Reads the whole track; memory stays flat.

    Args:
        index: Index of the stream in the file.

    Raises:
        BadInputError: the file cannot be read as media, or has more than 64 channels of audio.
    """
    found: dict[str, tuple[list[str], ChannelPowers]] = {}
    with open_media(path) as container:
        for layout, window in audio_windows(container, index, WINDOW_S):
            if layout.name not in found:
                count = check_channels(len(window), path)
                found[layout.name] = [each.name for each in layout.channels], ChannelPowers(np.zeros((count, count)))
            found[layout.name][1].add(window)
    return {layout: heard_channels(*measured) for layout, measured in found.items()}
