"""Costs per unit of work in CPU-seconds of one core, measured by benchmarks/bench_cost_rates.py.

The hardware is in `MEASURED_ON`. Other machines differ by a factor of two or three, so results are estimates; `avfusion
doctor --tune` measures the backbones, which take nearly all of the time, on the machine at hand.
"""

from dataclasses import dataclass

MEASURED_ON = "one core of an AMD EPYC (Zen 4, virtual machine with 2 cores), no GPU"

RENDER_FRAME = 2.6e-3  # demo corpus, 256 pixels: drawn, encoded, its crop written
PROBE_FRAME = 12e-6  # packets of a video frame and of its sound
CROP_NAME = 1.5e-6  # a name in a crop folder, listed and numbered
LABEL_ROW = 1.6e-6  # read, checked, written
READY_CROP = 30e-6  # a 112x112 JPEG read, checked, put into the frame table
DETECTION = 16e-3  # faces of one picture of 640x360
FRAME_OF_DETECTION = 1.5e-3  # decoded twice, aligned, encoded
SOUND_SECOND = 2.5e-3  # decoded, resampled, written
DISTURBED_CLIP = 2.0  # times a clip's cost: sound or crops are read, disturbed and encoded, and batches are filled up
EVALUATED_FRAME = 150e-6  # scores, tables, presence; without predictions


@dataclass(frozen=True)
class BackboneRate:
    """CPU-seconds per clip at the measured width and input size.

    Attributes:
        width: Channels of the first stage; 0: no stages.
        input_size: Pixels, or mel bands.
        float32, bfloat16: Features of a clip, including the decoding of crops or the spectrogram.
        training: One step of training in float32, per clip.
    """

    width: int
    input_size: int
    float32: float
    bfloat16: float
    training: float

    def features(self, dtype: str) -> float:
        """Cost of a clip's features in `dtype`; CPUs compute float16 in float32."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32

    def scale(self, width: int, input_size: int) -> float:
        """Cost of another width and input size relative to the measured; narrow convolutions gain less."""
        return (width / self.width if self.width else 1.0) ** 1.5 * (input_size / self.input_size) ** 2


BACKBONES = {
    "narrow_r2plus1d": BackboneRate(8, 56, float32=1.8e-3, bfloat16=1.3e-3, training=7e-3),
    "r2plus1d_18": BackboneRate(64, 112, float32=0.45, bfloat16=0.17, training=1.25),
    "narrow_resnet": BackboneRate(16, 64, float32=1.3e-3, bfloat16=1.2e-3, training=1.8e-3),
    "resnet18": BackboneRate(64, 64, float32=7e-3, bfloat16=5.5e-3, training=25e-3),
    "narrow_resnet_frames": BackboneRate(8, 56, float32=1.0e-3, bfloat16=0.9e-3, training=2.7e-3),
    "resnet18_frames": BackboneRate(64, 112, float32=0.07, bfloat16=0.04, training=0.27),
    # Only the spectrogram costs; without a network the width has no effect.
    "log_mel_statistics": BackboneRate(0, 64, float32=0.9e-3, bfloat16=0.9e-3, training=0.1e-3),
}


def backbone_rate(name: str) -> BackboneRate:
    """The cost of a backbone; of one that was not measured, an upper estimate: that of the dearest."""
    return BACKBONES.get(name) or BACKBONES["r2plus1d_18"]


@dataclass(frozen=True)
class FusionRate:
    """CPU-seconds of a fusion model on pooled features, with 16 clips per sequence.

    Attributes:
        sequence: One training step, per sequence.
        clip: One clip predicted by `overlap` (16 positions).
    """

    sequence: float
    clip: float


FUSION = {
    "audio_only": FusionRate(150e-6, 65e-6),
    "visual_only": FusionRate(150e-6, 65e-6),
    "concat": FusionRate(220e-6, 105e-6),
    "jca": FusionRate(700e-6, 480e-6),
}
POSITIONS = 16  # of a clip, by `overlap`
OTHER_FUSION = FUSION["jca"]  # for models that were not measured
MAP_FACTOR = 6.0  # visual maps are 49 times as long, but averaged first: the cost is moving them
