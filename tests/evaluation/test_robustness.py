"""Disturbances do what they say; their scores are those of the disturbed streams."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.corpora.table import read_tracks
from avfusion.data.audio import write_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameRow, encode_crop, write_frames
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.robustness.distortions import absent_span, add_noise, babble, blur, occlude, shift_sound
from avfusion.experiments.robustness.features import DisturbedTask, disturbed_features
from avfusion.experiments.robustness.scores import (
    Draws,
    disturb,
    dropout_gain,
    entry_name,
    predict_conditions,
    score_rows,
    thin_out,
)
from avfusion.fusion.base import FusionModel, FusionOutput
from avfusion.fusion.files import load_fusion
from avfusion.fusion.track_inference import predict_track
from avfusion.scoring.conditions import CONDITIONS, KINDS, MASKED, Condition
from avfusion.scoring.metrics import pooled_scores
from avfusion.scoring.track_predictions import TrackPredictions

GEOMETRY = GeometrySettings(fps=25)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_absence_is_one_span_that_grows(place: float) -> None:
    spans = [absent_span(40, share, place) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert [span.sum() for span in spans] == [0, 10, 20, 30, 40]
    for smaller, larger in pairwise(spans):
        assert not (smaller & ~larger).any()
        assert np.abs(np.diff(np.concatenate([[0], larger, [0]]))).sum() == 2


@pytest.mark.parametrize("snr", [20, 0, -5])
def test_noise_has_the_ratio_asked_for(snr: float) -> None:
    sound, noise = (0.1 * RNG.normal(size=44100)).astype(np.float32), RNG.normal(size=44100).astype(np.float32)
    added = add_noise(sound, noise, snr) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(added.astype(np.float64) ** 2)) == pytest.approx(snr, abs=1e-3)
    silence = np.zeros(10, np.float32)
    assert add_noise(silence, noise[:10], snr) is silence


def test_voices_of_a_babble_are_equally_loud() -> None:
    loud, quiet = RNG.normal(size=1000), 0.01 * RNG.normal(size=1500)
    mixed = babble([loud, quiet, np.zeros(5), np.zeros(0)], 3000)
    by_hand = np.resize(loud, 3000) / np.sqrt(np.mean(loud**2)) + np.resize(quiet, 3000) / np.sqrt(np.mean(quiet**2))
    np.testing.assert_allclose(mixed, by_hand, rtol=1e-5)


def test_shifts() -> None:
    sound = np.arange(1, 9, dtype=np.float32)
    assert shift_sound(sound, 0.2, 10).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert shift_sound(sound, -0.3, 10).tolist() == [4, 5, 6, 7, 8, 0, 0, 0]
    assert shift_sound(sound, 4, 10).tolist() == shift_sound(sound, -4, 10).tolist() == [0] * 8


def test_occlusion_and_blur() -> None:
    crop = RNG.integers(0, 100, (112, 112, 3)).astype(np.uint8)
    covered = occlude(crop, 0.25, (1.0, 0.0))
    assert (covered[56:, :56] == 128).all()
    assert (covered[:56] == crop[:56]).all()
    assert (covered[:, 56:] == crop[:, 56:]).all()
    blurred = blur(crop, 2)
    assert blurred.std() < crop.std() / 3
    assert blurred.mean() == pytest.approx(crop.mean(), abs=1)


class Plain(FusionModel):
    """Reads valence from the planted corpus's face and arousal from its voice; 0 where absent."""

    name = "plain"

    def __init__(self) -> None:
        super().__init__(12, 10, 16)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def fuse(self, audio, visual, audio_present, visual_present, valid) -> FusionOutput:  # type: ignore[no-untyped-def]
        planted = [np.random.default_rng(width).normal(size=width)[0] for width in (10, 12)]
        return FusionOutput(torch.stack([visual[..., 0] / planted[0], audio[..., 0] / planted[1]], dim=-1) * self.scale)


@pytest.fixture
def tracks(plant: Callable[..., Path]) -> list[TrackData]:
    root = plant(tracks={"val": 3, "train": 1}, seconds=30, noise=0.0)
    found = load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), "val", GEOMETRY)
    thin = [thin_out(track, 4) for track in found]
    whole = np.ones_like(thin[0].audio_present)  # else a clip without either stream would be held from its neighbours
    return [dataclasses.replace(track, audio_present=whole, visual_present=whole) for track in thin]


def predicted(tracks: list[TrackData], model: FusionModel) -> list[TrackPredictions]:
    return [
        TrackPredictions(
            *(track.track, track.video, "val", track.time_s, track.labels, track.valid),
            presence=np.ones((len(track.time_s), 2), bool),
            predictions={"plain": predict_track(model, track, GEOMETRY, 32, "overlap")},
        )
        for track in tracks
    ]


def test_a_disturbed_stream_costs_the_target_that_it_tells(tracks: list[TrackData]) -> None:
    model, noise = Plain(), np.random.default_rng(1)
    assert np.diff(tracks[0].clip_ticks).tolist() == [32] * (len(tracks[0].clip_ticks) - 1)
    spoiled = {
        track.track: {
            "blur 4": (noise.normal(size=track.visual.shape).astype(np.float16), track.visual_present),
            "white_noise -5": (np.zeros_like(track.audio), track.audio_present),
        }
        for track in tracks
    }
    clean = predicted(tracks, model)
    found = predict_conditions(clean, tracks, spoiled, {"plain": model}, GEOMETRY, 32, "overlap", seed=0)
    rows = score_rows(found, ["plain"], list(KINDS), Draws(100, 0))
    table = {(row["kind"], row["level"]): row for row in rows}
    assert len(table) == len(CONDITIONS) + len(KINDS)
    base = table["blur", None]
    assert base["ccc_valence"] == pooled_scores(clean, "plain", resamples=100, seed=0)["ccc_valence"]
    assert base["change_mean"] == 0
    assert table["audio_absent", 1.0]["ccc_arousal"] == pytest.approx(0, abs=1e-6)
    assert table["audio_absent", 1.0]["ccc_valence"] == base["ccc_valence"]
    arousal = [table["audio_absent", share]["ccc_arousal"] for share in (0.25, 0.5, 0.75, 1.0)]
    assert arousal == sorted(arousal, reverse=True)
    assert table["face_absent", 1.0]["ccc_arousal"] == base["ccc_arousal"]
    assert table["blur", 4.0]["ccc_valence"] < base["ccc_valence"] - 0.3
    change = table["blur", 4.0]
    assert change["change_valence"] == pytest.approx(change["ccc_valence"] - base["ccc_valence"])
    assert change["change_valence_low"] <= change["change_valence"] <= change["change_valence_high"]
    # Without features of a condition a track is scored as it is.
    assert table["blur", 1.0]["ccc_valence"] == base["ccc_valence"]
    assert table["white_noise", -5.0]["ccc_arousal"] == pytest.approx(0, abs=1e-6)


def test_masks_leave_the_features_and_the_other_stream_alone(tracks: list[TrackData]) -> None:
    masked = disturb(tracks[0], Condition("audio_absent", 0.5), {}, seed=3)
    assert masked is not None
    gone = tracks[0].audio_present & ~masked.audio_present
    assert gone.sum() >= 0.4 * len(gone)
    assert masked.visual_present is tracks[0].visual_present
    assert disturb(tracks[0], Condition("babble", 0.0), {}, seed=3) is None


def test_what_modality_dropout_saves_is_the_difference_of_the_losses(tracks: list[TrackData]) -> None:
    entries = predicted(tracks, Plain())
    noise = np.random.default_rng(2)
    absent = Condition("audio_absent", 0.5)
    filled = []
    for entry in entries:
        good = np.clip(entry.labels, -1, 1)
        bad = np.clip(good + noise.normal(size=good.shape) * 0.5, -1, 1).astype(np.float32)
        worse = np.clip(good + noise.normal(size=good.shape), -1, 1).astype(np.float32)
        values = {"plain": good, entry_name("plain", absent): worse, "trained": good}
        values |= {entry_name("trained", absent): bad}
        values |= {entry_name(name, Condition("face_absent", 0.5)): good for name in ("plain", "trained")}
        filled.append(dataclasses.replace(entry, predictions=values))
    found = dropout_gain(filled, "plain", "trained", 0.5, Draws(200, 0))
    saved = found["audio_absent"]["mean"]
    assert saved["saved"] == pytest.approx(saved["lost_without"] - saved["lost_with"])
    assert 0 < saved["ci95"][0] <= saved["saved"] <= saved["ci95"][1]
    assert found["face_absent"]["valence"]["saved"] == 0


def test_features_are_those_of_the_disturbed_stream(trained_models: Path, tmp_path: Path) -> None:
    """Against the extractor, called by hand; what a worker makes for one track."""
    from avfusion.backbones.extraction import FeatureExtractor
    from avfusion.backbones.weights import load_backbone
    from avfusion.data.audio import read_audio

    _, config = load_fusion(trained_models / "fusion")
    spec = FeatureSpec.from_dict(config["feature_spec"]).model_copy(update={"stride": 32, "batch_size": 2})
    random = np.random.default_rng(0)
    crops = [encode_crop(random.integers(0, 255, (112, 112, 3)).astype(np.uint8), 95) for _ in range(40)]
    rows = [FrameRow(i + 1, i / 25, None if i < 3 else crop, float(i >= 3)) for i, crop in enumerate(crops)]
    write_frames(tmp_path / "t.parquet", rows)
    for name in ("t", "other"):
        write_audio(tmp_path / f"{name}.wav", (0.1 * random.normal(size=70560)).astype(np.float32))
    task = DisturbedTask(
        track="t",
        frames=tmp_path / "t.parquet",
        sound=tmp_path / "t.wav",
        voices=(tmp_path / "other.wav",),
        backbones=trained_models / "backbones",
        spec=spec.model_dump_json(),
        seed=0,
        device="cpu",
    )
    found = disturbed_features(task)
    assert set(found) == {one.name for one in CONDITIONS if one.kind not in MASKED}
    visual, audio = (load_backbone(trained_models / "backbones", stream)[0] for stream in ("visual", "audio"))
    extractor = FeatureExtractor(visual, audio, spec)
    time_s, sound = np.arange(40) / 25, read_audio(tmp_path / "t.wav")
    clean = extractor.extract_track(time_s, [row.jpeg for row in rows], sound)
    late = extractor.extract_track(time_s, [None] * 40, np.concatenate([np.zeros(11025, np.float32), sound[:-11025]]))
    np.testing.assert_array_equal(found["audio_shift 0.25"][0], late.audio)
    assert not np.array_equal(late.audio, clean.audio)
    for name, stream in (
        ("babble -5", "audio"),
        ("white_noise 20", "audio"),
        ("occlusion 0.5", "visual"),
        ("blur 4", "visual"),
    ):
        features, present = found[name]
        assert features.shape == getattr(clean, stream).shape
        np.testing.assert_array_equal(present, getattr(clean, f"{stream}_present"))
        assert np.abs(features.astype(float) - getattr(clean, stream))[present].max() > 1e-3
    silent = disturbed_features(dataclasses.replace(task, sound=None, voices=()))
    assert {name.split()[0] for name in silent} == {"occlusion", "blur"}
    np.testing.assert_array_equal(silent["blur 4"][0], found["blur 4"][0])
