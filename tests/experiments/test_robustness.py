"""Disturbances do what they say; their scores are those of the disturbed streams."""

import dataclasses
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.corpora.table import Track, read_tracks
from avfusion.data.audio import read_audio, write_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.frames import FrameRow, encode_crop, read_frames, write_frames
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.differences import disturbed_differences
from avfusion.experiments.robustness import conditions as condition_stores
from avfusion.experiments.robustness import features as disturbed
from avfusion.experiments.robustness.conditions import condition_store, signal_conditions, update_conditions
from avfusion.experiments.robustness.disturbances import audio_shift, blur, occlusion
from avfusion.experiments.robustness.disturbances.absence import absent_span
from avfusion.experiments.robustness.disturbances.babble import babble
from avfusion.experiments.robustness.disturbances.noise import add_noise
from avfusion.experiments.robustness.disturbed_files import file_name, read_disturbed, read_stamp, restamp
from avfusion.experiments.robustness.evaluation import _subtitle
from avfusion.experiments.robustness.features import ConditionTask
from avfusion.experiments.robustness.scores import (
    condition_entry,
    disturb,
    dropout_gain,
    predict_conditions,
    score_rows,
    thin_out,
)
from avfusion.fusion.base import FusionModel, FusionOutput
from avfusion.fusion.files import load_fusion
from avfusion.fusion.track_inference import predict_track
from avfusion.runtime.code_digest import import_closure
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import UNSTAMPED, Stamp
from avfusion.runtime.units import NEUTRAL, UNITS
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

    def shift(seconds: float) -> list[float]:
        found: list[float] = audio_shift.disturb(sound, seconds, RNG, (), 10).tolist()
        return found

    assert shift(0.2) == [0, 0, 1, 2, 3, 4, 5, 6]
    assert shift(-0.3) == [4, 5, 6, 7, 8, 0, 0, 0]
    assert shift(4) == shift(-4) == [0] * 8


def test_occlusion_and_blur() -> None:
    crop = RNG.integers(0, 100, (112, 112, 3)).astype(np.uint8)
    covered = occlusion.disturb(crop, 0.25, (1.0, 0.0))
    assert (covered[56:, :56] == 128).all()
    assert (covered[:56] == crop[:56]).all()
    assert (covered[:, 56:] == crop[:, 56:]).all()
    blurred = blur.disturb(crop, 2, (0.0, 0.0))
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


@pytest.mark.usefixtures("few_videos_are_enough")
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
    found = predict_conditions(clean, tracks, spoiled.__getitem__, {"plain": model}, GEOMETRY, 32, "overlap", seed=0)
    rows = score_rows(found, ["plain"], list(KINDS))
    table = {(row["kind"], row["level"]): row for row in rows}
    assert len(table) == len(CONDITIONS) + len(KINDS)
    base = table["blur", None]
    assert base["ccc_valence"] == pooled_scores(clean, "plain")["ccc_valence"]
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


def test_the_pictures_heading_counts_videos_as_they_weigh() -> None:
    facts = {"split": "test", "tracks": ["a", "b"], "videos": 30, "effective_videos": 12.34, "stride": 8}
    few = "few videos: intervals may be too narrow"
    assert _subtitle(facts | {"note": few}) == (
        "test, 2 tracks of 30 videos (effectively 12.3), a clip every 8 frames; "
        f"shaded: 95 % interval of the main model ({few})"
    )
    none = "too few videos for an interval"
    assert _subtitle(facts | {"effective_videos": 7.9, "note": none}).endswith(f"every 8 frames; {none}")


def test_masks_leave_the_features_and_the_other_stream_alone(tracks: list[TrackData]) -> None:
    masked = disturb(tracks[0], Condition("audio_absent", 0.5), {}, seed=3)
    assert masked is not None
    gone = tracks[0].audio_present & ~masked.audio_present
    assert gone.sum() >= 0.4 * len(gone)
    assert masked.visual_present is tracks[0].visual_present
    assert disturb(tracks[0], Condition("babble", 0.0), {}, seed=3) is None


@pytest.mark.usefixtures("few_videos_are_enough")
def test_what_modality_dropout_saves_is_the_difference_of_the_losses(tracks: list[TrackData]) -> None:
    entries = predicted(tracks, Plain())
    noise = np.random.default_rng(2)
    absent = Condition("audio_absent", 0.5)
    filled = []
    for entry in entries:
        good = np.clip(entry.labels, -1, 1)
        bad = np.clip(good + noise.normal(size=good.shape) * 0.5, -1, 1).astype(np.float32)
        worse = np.clip(good + noise.normal(size=good.shape), -1, 1).astype(np.float32)
        values = {"plain": good, condition_entry("plain", absent): worse, "trained": good}
        values |= {condition_entry("trained", absent): bad}
        values |= {condition_entry(name, Condition("face_absent", 0.5)): good for name in ("plain", "trained")}
        filled.append(dataclasses.replace(entry, predictions=values))
    found = dropout_gain(filled, "plain", "trained", 0.5)
    saved = found["audio_absent"]["mean"]
    assert saved["saved"] == pytest.approx(saved["lost_without"] - saved["lost_with"])
    assert 0 < saved["ci95"][0] <= saved["saved"] <= saved["ci95"][1]
    assert found["face_absent"]["valence"]["saved"] == 0


@pytest.fixture
def corpus(trained_models: Path, tmp_path: Path) -> tuple[Path, list[Track], FeatureSpec]:
    """Stores of a track with sound and one without, the backbones, and the spec of their features."""
    _, config = load_fusion(trained_models / "fusion")
    spec = FeatureSpec.from_dict(config["feature_spec"]).model_copy(update={"stride": 32, "batch_size": 2})
    random, data = np.random.default_rng(0), tmp_path / "data"
    for folder in ("frames", "audio"):
        (data / folder).mkdir(parents=True)
    shutil.copytree(trained_models / "backbones", tmp_path / "models" / "backbones")
    for name in ("t", "silent"):
        crops = [encode_crop(random.integers(0, 255, (112, 112, 3)).astype(np.uint8), 95) for _ in range(40)]
        rows = [FrameRow(i + 1, i / 25, None if i < 3 else crop, float(i >= 3)) for i, crop in enumerate(crops)]
        write_frames(data / "frames" / f"{name}.parquet", rows, UNSTAMPED)
    for name in ("t", "other"):
        write_audio(data / "audio" / f"{name}.wav", (0.1 * random.normal(size=70560)).astype(np.float32), UNSTAMPED)
    tracks = [
        Track(name, name, "test", f"{name}.mp4", (), "", "", "", "", 40, 25.0, 1.6, name == "t", 40, 40, ())
        for name in ("t", "silent")
    ]
    return tmp_path, tracks, spec


Update = Callable[..., tuple[str, ...]]


@pytest.fixture
def update(corpus: tuple[Path, list[Track], FeatureSpec], monkeypatch: pytest.MonkeyPatch) -> Update:
    """Brings the store up to date; gives the conditions that were made. Keywords are other arguments of the store."""
    root, tracks, spec = corpus
    made: list[str] = []
    make = condition_stores.make_condition_file

    def noting(task: ConditionTask, path: Path, wanted: Stamp) -> None:
        made.append(f"{task.kind} {task.level:g}")
        make(task, path, wanted)

    monkeypatch.setattr(condition_stores, "make_condition_file", noting)

    def call(**changes: Any) -> tuple[str, ...]:
        made.clear()
        arguments: dict[str, Any] = {"tracks": tracks, "voices": [root / "data" / "audio" / "other.wav"], "spec": spec}
        arguments |= {"seed": 0} | changes
        given = (arguments.pop(name) for name in ("tracks", "voices", "spec"))
        update_conditions(condition_store(root, *given, **arguments), SERIAL)
        return tuple(made)

    return call


SERIAL = ExecutionSettings(executor="serial", workers=1)
SIGNALS = {one.name for one in CONDITIONS if one.kind not in MASKED}


def test_features_are_those_of_the_disturbed_stream(
    corpus: tuple[Path, list[Track], FeatureSpec], update: Update
) -> None:
    """Against the extractor, called by hand; what a worker makes for the tracks of a condition."""
    root, _, spec = corpus
    assert set(update()) == SIGNALS
    names = sorted(SIGNALS)
    found = read_disturbed(root / "data" / "robustness", names, "t")
    assert set(found) == SIGNALS
    visual, audio = (load_backbone(root / "models" / "backbones", stream)[0] for stream in ("visual", "audio"))
    extractor = FeatureExtractor(visual, audio, spec)
    table, sound = read_frames(root / "data" / "frames" / "t.parquet"), read_audio(root / "data" / "audio" / "t.wav")
    clean = extractor.extract_track(table.time_s, table.jpeg, sound)
    shifted = np.concatenate([np.zeros(11025, np.float32), sound[:-11025]])
    late = extractor.extract_track(table.time_s, [None] * 40, shifted)
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
    silent = read_disturbed(root / "data" / "robustness", names, "silent")
    assert {name.split()[0] for name in silent} == {"occlusion", "blur"}


def test_only_conditions_that_changed_are_made_again(
    corpus: tuple[Path, list[Track], FeatureSpec],
    update: Update,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, tracks, spec = corpus
    folder = root / "data" / "robustness"
    update()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert update() == ()
    # One that cannot be read is made anew, and said.
    (folder / "blur_4.safetensors").write_bytes(b"half of it")
    capsys.readouterr()
    assert update() == ("blur 4",)
    assert "no stamp can be read in 1 of the files: made anew" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # Other code of one kind, a level more, a kind that is gone.
    digest = condition_stores.unit_digest
    with monkeypatch.context() as patched:
        other = disturbed.disturbance_module("blur")
        patched.setattr(
            condition_stores, "unit_digest", lambda unit, *more: digest(unit, *more) + "x" * (other in more)
        )
        assert update() == ("blur 1", "blur 2", "blur 4")
    update()
    with monkeypatch.context() as patched:
        more = [*signal_conditions([Path()]), Condition("blur", 8.0)]
        patched.setattr(condition_stores, "signal_conditions", lambda voices: more)
        assert update() == ("blur 8",)
    assert update() == ()
    assert not (folder / "blur_8.safetensors").exists()
    assert update(voices=[]) == ()
    assert not list(folder.glob("babble*"))
    # Inputs: sound concerns the audio conditions, a track less all of them.
    audio = {one.name for one in CONDITIONS if one.name in SIGNALS and one.stream == "audio"}
    update()
    write_audio(root / "data" / "audio" / "t.wav", np.zeros(70560, np.float32), UNSTAMPED)
    assert set(update()) == audio
    write_audio(root / "data" / "audio" / "other.wav", np.ones(70560, np.float32) / 2, UNSTAMPED)
    assert {name.split()[0] for name in update()} == {"babble"}
    assert set(update(tracks=tracks[:1])) == SIGNALS
    networks = {stream: spec.backbones[stream].model_copy(update={"sha256": "1" * 64}) for stream in spec.backbones}
    others = spec.model_copy(update={"backbones": spec.backbones | {"visual": networks["visual"]}})
    wanted = condition_store(root, tracks[:1], [root / "data" / "audio" / "other.wav"], others, seed=0).wanted
    stale = {
        key for key in wanted if not wanted[key].is_current(read_stamp(folder / f"{key}.safetensors") or UNSTAMPED)
    }
    assert stale == {file_name(name) for name in SIGNALS - audio}


def test_a_condition_whose_code_gives_the_same_is_restamped(
    corpus: tuple[Path, list[Track], FeatureSpec], update: Update, tmp_path: Path
) -> None:
    root, *_ = corpus
    update()
    path = root / "data" / "robustness" / "blur_4.safetensors"
    stamp = read_stamp(path)
    assert stamp is not None
    renewed = stamp.renewed(Stamp(stamp.made, "new code"), {"by": "somebody"})
    restamp(path, tmp_path / "renewed", renewed)
    assert read_stamp(tmp_path / "renewed") == renewed
    assert disturbed_differences(path, tmp_path / "renewed") == []
    other = root / "data" / "robustness" / "blur_2.safetensors"
    assert disturbed_differences(path, other)[0].startswith("silent/features: ")
    heard = root / "data" / "robustness" / "babble_0.safetensors"
    assert disturbed_differences(path, heard) == ["tracks: silent/features, silent/present are in one of both alone"]


def test_code_of_a_disturbance_concerns_its_kind_alone() -> None:
    base = set(import_closure(UNITS["condition"], NEUTRAL))
    assert not any(".disturbances." in module for module in base)
    assert "avfusion.scoring.conditions" not in base, "a level more makes no other condition anew"
    for kind in {one.kind for one in CONDITIONS} - set(MASKED):
        own = set(import_closure((*UNITS["condition"], disturbed.disturbance_module(kind)), NEUTRAL)) - base
        noise = {disturbed.disturbance_module("noise")} if kind in ("white_noise", "babble") else set()
        assert own == {disturbed.disturbance_module(kind)} | noise
