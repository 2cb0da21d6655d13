"""What training gives for fixed inputs: numbers that no change of the code may move unnoticed."""

from collections.abc import Callable

import pytest

from avfusion.fusion.catalogue import fusion_names, takes_maps
from avfusion.training.loop import FusionTraining

# The published network takes maps of one size alone.
OF_ANY_SIZE = [name for name in fusion_names() if not takes_maps(name)]
# (loss of epoch 2, mean validation CCC of epoch 2)
GOLDEN = {
    "audio_only": (1.1112, 0.2849),
    "visual_only": (1.1118, 0.2487),
    "concat": (0.6203, 0.8578),
    "late": (0.5354, 0.8979),
    "self_attention": (1.2499, 0.3238),
    "cross_attention": (1.3426, 0.4952),
    "jca": (1.0651, 0.7665),
    "recursive_jca": (0.5604, 0.8060),
    "dynamic": (0.7382, 0.8211),
    "modality_gate": (0.4168, 0.8925),
    "leader_follower": (1.0143, 0.7516),
    "grjca": (0.7559, 0.4227),
    "tagf": (0.7998, 0.4283),
    "raav": (1.4097, 0.6040),
    "temporal_concat": (0.7303, 0.8064),
}


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_training_gives_the_known_numbers(name: str, training: Callable[..., FusionTraining]) -> None:
    row = training(name, epochs=2, modality_dropout=0.3, weight_decay=1e-3).fit().history[-1]
    assert (row["loss"], row["val_ccc_mean"]) == pytest.approx(GOLDEN[name], abs=2e-3)
