"""Labelled clips for training: the right frames, sound and targets, in batches of one shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.data.clips.clips import batches
from avfusion.data.clips.sound import SoundClips
from avfusion.data.clips.visual import VisualClips
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, VisualTransform
from avfusion.data.transforms import LogMel, normalise_clips

GEOMETRY = ClipGeometry(fps=25)


@pytest.fixture
def tracks(track_maker):
    first, second = track_maker("a", 1, frames=60), track_maker("b", 2, frames=50)
    gaps = [None if 10 <= frame < 30 else jpeg for frame, jpeg in enumerate(first.jpegs)]
    valid = np.arange(50) % 10 != 3
    return [replace(first, jpegs=gaps), replace(second, valid=valid)]


def test_they_are_what_extraction_sees(tracks, models):
    # At the extraction's stride, head to tail: features of these clips are those of the extractor.
    clips = VisualClips(tracks, GEOMETRY, models.spec.visual, stride=8)
    sound = SoundClips(tracks, GEOMETRY, models.spec.audio, stride=8)
    tables = [
        FeatureExtractor(models.visual, models.audio, models.spec).extract_track(
            track.time_s, track.jpegs, track.sound / np.float32(32768)
        )
        for track in tracks
    ]
    pairs = list(zip(tables, tracks, strict=True))
    expected = np.concatenate([t.visual[t.visual_present & k.valid[t.clip_end - 1]] for t, k in pairs])
    with torch.inference_mode():
        features = models.visual(normalise_clips(clips.load(np.arange(len(clips.targets))), models.spec.visual))
        np.testing.assert_allclose(features, expected.astype(np.float32), rtol=2e-3, atol=1e-3)
        heard = np.concatenate([t.audio[k.valid[t.clip_end - 1]] for t, k in pairs])
        log_mel = LogMel(models.spec.audio)
        for batch in batches(sound, np.arange(len(sound.targets)), 4):
            np.testing.assert_allclose(
                models.audio(log_mel(sound.load(batch))), heard[batch].astype(np.float32), rtol=2e-2, atol=2e-2
            )


def test_targets_are_the_labels_of_the_clips_end(tracks):
    clips = VisualClips(tracks, GEOMETRY, VisualTransform(input_size=28))
    assert len(clips.targets) == 60 + 45
    assert np.array_equal(clips.targets[:60], tracks[0].labels)
    assert np.array_equal(clips.targets[60:], tracks[1].labels[tracks[1].valid])


def test_a_target_offset_looks_back_and_needs_a_label_there(tracks):
    clips = SoundClips(tracks[1:], GEOMETRY, AudioTransform(), target_offset=-16)
    labelled = np.flatnonzero(tracks[1].valid[:34])  # ends 16 … 49 look at frames 0 … 33
    assert np.array_equal(clips.targets, tracks[1].labels[labelled])


def test_clips_without_a_stream_are_no_samples(tracks):
    blind = replace(tracks[0], jpegs=[None] * 40 + list(tracks[0].jpegs[40:]))
    assert len(VisualClips([blind], GEOMETRY, VisualTransform(input_size=28)).targets) == 20
    assert len(SoundClips([replace(blind, sound=None)], GEOMETRY, AudioTransform()).targets) == 0
    short = replace(blind, sound=blind.sound[: 44100 // 2])
    begins = blind.time_s[np.maximum(np.arange(60) - 31, 0)]
    assert len(SoundClips([short], GEOMETRY, AudioTransform()).targets) == (begins < 0.5).sum()


def test_clips_tell_their_tracks(tracks):
    deaf = replace(tracks[0], name="deaf", sound=None)
    visual = VisualClips([deaf, *tracks], GEOMETRY, VisualTransform(input_size=28))
    assert visual.names(np.array([130, 3, 59, 119])) == ["deaf", "a", "b"]
    assert visual.names(np.array([120, 164])) == ["b"]
    sound = SoundClips([deaf, *tracks], GEOMETRY, AudioTransform())
    assert sound.names(np.array([59])) == ["a"]
    assert sound.names(np.array([60, 0])) == ["a", "b"]


def test_crops_kept_as_jpegs_give_the_same_pixels(tracks):
    decoded, encoded = (VisualClips(tracks, GEOMETRY, VisualTransform(input_size=28), limit=n) for n in (2**30, 0))
    chosen = np.array([70, 3, 3, 59])
    assert torch.equal(decoded.load(chosen), encoded.load(chosen))
    assert decoded.load(chosen).shape == (4, 8, 28, 28, 3)


def test_batches_have_one_shape_and_every_clip_once(tracks):
    clips = SoundClips(tracks, GEOMETRY, AudioTransform())
    assert len(set(clips.shape_of.tolist())) > 3  # the first clips of a track are shorter
    order = np.random.default_rng(0).permutation(len(clips.targets))
    plan = list(batches(clips, order, 16))
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(clips.targets)))
    assert all(len({int(clips.shape_of[clip]) for clip in batch}) == 1 and len(batch) <= 16 for batch in plan)
    for batch in plan:
        assert LogMel(AudioTransform())(clips.load(batch)).shape[-1] == clips.shape_of[batch[0]] + 1
    assert min(len(batch) for batch in batches(clips, order, 16, smallest=8)) >= 8
