"""What backbone training gives for fixed clips: numbers that no refactoring may change."""

import pytest
import torch

from avfusion.backbones.registry import build_backbone
from avfusion.backbones.settings import BackboneSettings
from avfusion.data.clips.sound import SoundClips
from avfusion.data.clips.visual import VisualClips
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, VisualTransform
from avfusion.training.audio_backbone import audio_preparation
from avfusion.training.backbones import BackboneTrainer
from avfusion.training.visual_backbone import visual_preparation

# Stream: (loss of epoch 2, validation CCC of valence and arousal after it)
GOLDEN = {"visual": (1.9326, 0.0695, -0.0389), "audio": (1.9427, -0.2397, 0.4479)}
NAMES = {"visual": ("narrow_r2plus1d", 28), "audio": ("narrow_resnet", 64)}


@pytest.mark.parametrize("stream", GOLDEN)
def test_training_gives_the_known_numbers(stream, track_maker):
    name, size = NAMES[stream]
    train, val = [track_maker(str(n), n, frames=60) for n in range(3)], [track_maker("v", 9, frames=60)]
    if stream == "visual":
        kind, transform = VisualClips, VisualTransform(input_size=size)
        prepare = visual_preparation(transform)
    else:
        kind, transform = SoundClips, AudioTransform()
        prepare = audio_preparation(transform)
    clips = (kind(tracks, ClipGeometry(fps=25), transform, stride=stride) for tracks, stride in ((train, 1), (val, 4)))
    params = BackboneSettings(
        name=name, width=8, input_size=size, epochs=2, steps_per_epoch=5, batch_size=16, lr=1e-3, dropout=0.2
    )
    torch.manual_seed(0)
    backbone = build_backbone(name, stream=stream, width=8, input_size=size, dropout=params.dropout)
    row = BackboneTrainer(backbone, prepare, *clips, params).fit().history[-1]
    found = (row["train_loss"], row["val_ccc_valence"], row["val_ccc_arousal"])
    assert found == pytest.approx(GOLDEN[stream], abs=6e-3)
