"""What training gives for fixed inputs; where these numbers change, `loop.VERSION` has to be raised.

Checkpoints of an earlier version would otherwise be taken for results of the changed code.
"""

from collections.abc import Callable

import pytest

from avfusion.fusion.catalogue import fusion_names, takes_maps
from avfusion.training.loop import VERSION, FusionTraining

# The published network takes maps of one size alone.
OF_ANY_SIZE = [name for name in fusion_names() if not takes_maps(name)]
# (version, loss of epoch 2, mean validation CCC of epoch 2)
GOLDEN = {
    "audio_only": (2, 1.1112, 0.2849),
    "visual_only": (2, 1.1118, 0.2487),
    "concat": (2, 0.6203, 0.8578),
    "late": (2, 0.4058, 0.8893),
    "self_attention": (2, 1.2499, 0.3238),
    "cross_attention": (2, 1.3426, 0.4952),
    "jca": (2, 1.0651, 0.7665),
    "recursive_jca": (2, 0.5604, 0.8060),
    "dynamic": (2, 0.7382, 0.8211),
    "modality_gate": (2, 0.4168, 0.8925),
    "leader_follower": (2, 1.0143, 0.7516),
}


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_training_gives_the_known_numbers(name: str, training: Callable[..., FusionTraining]) -> None:
    row = training(name, epochs=2, modality_dropout=0.3, weight_decay=1e-3).fit().history[-1]
    version, loss, score = GOLDEN[name]
    assert version == VERSION
    assert (row["loss"], row["val_ccc_mean"]) == pytest.approx((loss, score), abs=2e-3)
