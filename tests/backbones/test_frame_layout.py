"""Features in the layout `frames`: of clip-wise backbones as in clips, of frame encoders of each crop alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.backbones.catalogue import encodes_frames
from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.feature_files import feature_spec
from avfusion.backbones.frozen import freeze
from avfusion.backbones.registry import build_backbone
from avfusion.backbones.weights import BackboneRecord
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import decode_crops
from avfusion.data.presence import frame_presence, shown_frames
from avfusion.data.transforms import downscale, normalise_crops
from avfusion.params.params import load_params


def test_clip_wise_backbones_give_the_rows_of_clips(models, models_with, track_maker):
    track = track_maker("a", 1, frames=60)
    found = []
    for made in (models, models_with(layout="frames")):
        extractor = FeatureExtractor(made.visual, made.audio, made.spec)
        found.append(extractor.extract_track(track.time_s, track.jpegs, track.sound / np.float32(32768)))
    assert found[0].feature_spec.digest() != found[1].feature_spec.digest()
    for name in ("clip_end", "audio", "visual", "audio_present", "visual_present"):
        np.testing.assert_array_equal(*(getattr(table, name) for table in found))


@pytest.mark.parametrize("stride", [1, 4])
def test_a_frame_encoder_sees_the_crop_of_its_frame_alone(models, track_maker, stride):
    torch.manual_seed(2)
    visual = build_backbone("narrow_resnet_frames", stream="visual", width=8, input_size=32).eval()
    identity = models.spec.backbones["visual"].model_copy(
        update={"name": visual.name, "input_size": 32, "feature_dim": visual.feature_dim}
    )
    update = {"visual": models.spec.visual.model_copy(update={"input_size": 32}), "layout": "frames", "stride": stride}
    backbones = {**models.spec.backbones, "visual": identity}
    spec = models.spec.model_copy(update=update | {"frame_encoder": True, "backbones": backbones})
    track = track_maker("a", 1, frames=30)
    jpegs = [None if 7 <= frame < 13 else crop for frame, crop in enumerate(track.jpegs)]
    table = FeatureExtractor(visual, models.audio, spec).extract_track(track.time_s, jpegs, None)
    frames = np.arange(0, 30, stride)
    face = np.array([jpeg is not None for jpeg in jpegs])
    assert table.clip_end.tolist() == (frames + 1).tolist()
    np.testing.assert_array_equal(table.visual_present, face[frames])
    assert not table.visual[~face[frames]].any()

    network = freeze(visual, torch.device("cpu"), torch.float32)
    shown = frames[face[frames]]
    pixels = torch.from_numpy(downscale(decode_crops([jpegs[frame] for frame in shown]), 32))
    clips = normalise_crops(pixels, spec.visual).permute(0, 3, 1, 2)[:, :, None]
    with torch.no_grad():
        expected = network(clips).numpy()
    np.testing.assert_allclose(table.visual[face[frames]].astype(float), expected, rtol=2e-3, atol=1e-4)

    np.testing.assert_array_equal(frame_presence(track.time_s, face, 0, spec)[:, 1], face)
    assert np.flatnonzero(shown_frames(track.time_s, face, spec)).tolist() == shown.tolist()


@pytest.mark.parametrize(
    ("layout", "backbone", "alone"),
    [("clips", "narrow_resnet_frames", False), ("frames", "narrow_resnet_frames", True),
     ("frames", "narrow_r2plus1d", False)],
)  # fmt: skip
def test_the_spec_says_what_a_row_shows(models, layout, backbone, alone):
    assert encodes_frames(backbone) == (backbone == "narrow_resnet_frames")
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    params = params.replaced(features=params.features.model_copy(update={"layout": layout}))
    identities = dict(models.spec.backbones)
    identities["visual"] = identities["visual"].model_copy(update={"name": backbone})
    spec = feature_spec(params, {stream: BackboneRecord(identity, stream) for stream, identity in identities.items()})
    assert (spec.layout, spec.frame_encoder) == (layout, alone)
    assert (spec.shown.clip_frames, spec.shown.kept_frames) == ((1, 1) if alone else (32, 8))
    assert FeatureSpec.from_dict(spec.to_dict()) == spec


def test_specs_of_clips_are_those_from_before_there_were_layouts(models):
    spec = models.spec
    for values in (spec.to_dict(), spec.deciding()):
        assert not {"layout", "frame_encoder"} & values.keys()
    digests = {spec.digest(), *(spec.model_copy(update={"layout": "frames", "frame_encoder": alone}).digest()
                                for alone in (False, True))}  # fmt: skip
    assert len(digests) == 3
