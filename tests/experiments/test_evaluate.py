"""Evaluation as a whole, on a planted corpus: the form of its files, and equal bytes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.settings import CorpusSettings
from avfusion.data.audio import write_audio
from avfusion.data.frames import FrameRow, write_frames
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.evaluate import (
    load_evaluated,
    load_models,
    page_sources,
    predict_tracks,
    protocol_facts,
    write_evaluation,
)
from avfusion.experiments.train_stage import train_models, training_grid
from avfusion.experiments.training import model_folder, model_names
from avfusion.fusion.files import load_fusion
from avfusion.params.params import check_params
from avfusion.reports.page.page import write_page
from avfusion.reports.report import headline
from avfusion.reports.settings import EvaluateSettings, ReportSettings
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import folder_digest
from avfusion.training.settings import TrainSettings

GEOMETRY = GeometrySettings(fps=25)
TRAIN = TrainSettings(model="jca", baselines=("audio_only",), epochs=2, batch_size=8, lr=3e-3)
EVALUATE = EvaluateSettings(trace_plots=1)
KINDS, NAMES = ("ccc", "ci95", "pcc", "rmse", "sagr"), ("valence", "arousal", "mean")
ENTRY = {f"{kind}_{name}" for kind in KINDS for name in NAMES}
ENTRY |= {f"{kind}_{name}" for kind in ("slope", "offset") for name in NAMES[:2]}
COUNTS = {"frames", "tracks", "videos", "groups", "effective_videos"}
ENTRY |= COUNTS


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    """A planted corpus with trained models."""
    folder = plant(tracks={"train": 3, "val": 2, "test": 3}, seconds=12)
    sections = {"common": {"threads": 1}, "corpus": {"name": "demo", "root": "data/raw/demo"}}
    sections |= {
        "frames": {"detect_every": 3, "jpeg_quality": 90},
        "geometry": {"fps": 25},
        "train": TRAIN.model_dump(),
    }
    params = check_params(sections, tuple(sections))
    train_models(training_grid(folder, params, "cpu"), params)
    return folder


def evaluate(root: Path, corpus: str = "demo") -> dict[str, Any]:
    tracks = load_evaluated(root, GEOMETRY)
    truth = truth_folder(root, CorpusSettings(name=corpus, root="data/raw/demo"))
    folders = {name: model_folder(root, name, TRAIN) for name in model_names(TRAIN)}
    models, config = load_models(folders, [track for split in tracks.values() for track in split])
    splits = {
        split: predict_tracks(entries, models, GEOMETRY, 8, config["inference"], root, truth)
        for split, entries in tracks.items()
    }
    protocol = protocol_facts(GEOMETRY, 8, config["inference"], EVALUATE, {"name": "jca", "digest": "d"})
    write_evaluation(root / "reports" / "evaluate", splits, list(models), EVALUATE, protocol)
    found: dict[str, Any] = json.loads((root / "reports" / "evaluate" / "metrics.json").read_text())
    return found


@pytest.mark.usefixtures("few_videos_are_enough")
def test_metrics_have_the_agreed_form(root: Path) -> None:
    metrics = evaluate(root)
    assert set(metrics) == {"val", "test"}
    for split, tracks in (("val", 2), ("test", 3)):
        assert set(metrics[split]) == {"jca", "audio_only", "oracle", "oracle_audio", "oracle_visual"}
        for entry in metrics[split].values():
            assert set(entry) == ENTRY | {"smoothed"}
            assert set(entry["smoothed"]) == ENTRY
            for part in (entry, entry["smoothed"]):
                assert part["frames"] == tracks * 295
                assert part["tracks"] == part["videos"] == part["groups"] == tracks
                assert part["ccc_mean"] == pytest.approx((part["ccc_valence"] + part["ccc_arousal"]) / 2, abs=1e-5)
                for target in ("valence", "arousal", "mean"):
                    low, high = part[f"ci95_{target}"]
                    assert low <= part[f"ccc_{target}"] <= high
    assert metrics["test"]["oracle"]["ccc_mean"] > metrics["test"]["oracle_audio"]["ccc_mean"]
    protocol = json.loads((root / "reports" / "evaluate" / "protocol.json").read_text())
    assert protocol["inference"] == "overlap"
    assert protocol["intervals"]["videos"] == protocol["intervals"]["groups"] == {"val": 2, "test": 3}
    assert protocol["intervals"]["notes"]["test"] == "few videos: intervals may be too narrow"


def test_a_licensed_corpus_has_no_test_labels_and_no_oracle(root: Path) -> None:
    assert (root / "data/raw/demo/truth/val-0.parquet").is_file(), "a folder of that name makes no demo corpus"
    metrics = evaluate(root, corpus="affwild2")
    assert all(set(metrics[split]) == {"jca", "audio_only"} for split in ("val", "test"))
    with open(root / "reports" / "evaluate" / "tracks.csv", newline="") as stream:
        assert {row["model"] for row in csv.DictReader(stream)} == {"jca", "audio_only"}
    entry = metrics["test"]["jca"]
    assert all(entry[key] is None for key in ENTRY - COUNTS)
    assert (entry["frames"], entry["tracks"]) == (0, 0)
    assert metrics["val"]["jca"]["ccc_mean"] is not None
    predictions = pq.read_table(root / "reports" / "evaluate" / "predictions" / "test-0.parquet")
    assert predictions["true_valence"].null_count == len(predictions) == 300


@pytest.mark.usefixtures("few_videos_are_enough")
def test_the_summary_has_the_main_models_scores_and_its_gain_over_the_best_baseline(root: Path) -> None:
    metrics = evaluate(root)
    summary = json.loads((root / "reports" / "summary.json").read_text())
    gains = json.loads((root / "reports" / "evaluate" / "comparisons.json").read_text())["test"]["audio_only"]["mean"]
    expected = {"gain": gains["difference"], "least": gains["ci95"][0], "most": gains["ci95"][1]}
    for split in ("val", "test"):
        main = metrics[split]["jca"]
        expected |= {split: main["ccc_mean"], f"{split}_v": main["ccc_valence"], f"{split}_a": main["ccc_arousal"]}
        expected[f"{split}_b"] = metrics[split]["audio_only"]["ccc_mean"]
    assert summary == pytest.approx(expected, abs=0.0005)
    assert summary["gain"] == pytest.approx(summary["test"] - summary["test_b"], abs=0.0011)


def test_the_summary_chooses_the_best_baseline_and_falls_back_to_validation() -> None:
    def entry(mean: float | None) -> dict[str, Any]:
        return {"ccc_mean": mean, "ccc_valence": mean, "ccc_arousal": mean}

    val = {"jca": entry(0.5), "audio_only": entry(0.2), "concat": entry(0.52), "oracle": entry(0.9)}
    metrics = {"val": val, "test": {name: entry(None) for name in val}}
    differences = {"val": {"audio_only": {"mean": {"difference": 0.3, "ci95": [0.1, 0.5]}}}, "test": {}}
    differences["val"]["concat"] = {"mean": {"difference": -0.02, "ci95": None}}
    summary = headline(metrics, differences, "jca", ["audio_only", "concat"])
    unknown = dict.fromkeys(("test", "test_v", "test_a", "test_b", "least", "most"))
    assert summary == {"val": 0.5, "val_v": 0.5, "val_a": 0.5, "val_b": 0.52, "gain": -0.02} | unknown
    alone = headline(metrics, {"val": {}, "test": {}}, "jca", [])
    assert alone == {"val": 0.5, "val_v": 0.5, "val_a": 0.5, "val_b": None, "gain": None} | unknown


def test_predictions_have_a_row_per_frame_of_every_track(root: Path) -> None:
    metrics = evaluate(root)
    folder = root / "reports" / "evaluate" / "predictions"
    assert sorted(path.stem for path in folder.iterdir()) == [*(f"test-{n}" for n in range(3)), "val-0", "val-1"]
    tables = [pq.read_table(folder / f"test-{n}.parquet").to_pandas() for n in range(3)]
    assert all(list(table["frame"]) == list(range(1, 301)) for table in tables)
    assert tables[0]["time_s"].iloc[-1] == pytest.approx(299 / 25)
    assert {"audio_present", "visual_present", "audio_only_valence", "oracle_arousal"} <= set(tables[0].columns)
    from avfusion.scoring.ccc import ccc

    valid = np.concatenate([table["valid"] for table in tables])
    pairs = [np.concatenate([table[name] for table in tables])[valid] for name in ("arousal", "true_arousal")]
    assert metrics["test"]["jca"]["ccc_arousal"] == pytest.approx(ccc(*pairs), abs=1e-6)


def test_presence_is_that_of_the_clip_ending_at_the_frame(root: Path) -> None:
    """From the stores' face confidence and the WAV's length: exact between clip ends, too (stride 8)."""
    (root / "data" / "audio").mkdir()
    write_audio(root / "data" / "audio" / "test-1.wav", np.zeros(44100, np.float32))
    rows = (FrameRow(i + 1, i / 25, b"crop" if i in (10, 60) else None, float(i in (10, 60))) for i in range(300))
    write_frames(root / "data" / "frames" / "test-1.parquet", rows)
    evaluate(root)
    table = pq.read_table(root / "reports" / "evaluate" / "predictions" / "test-1.parquet").to_pandas()
    frames = np.arange(300)
    assert table["audio_present"].tolist() == (frames - 31 < 25).tolist()
    seen = ((frames >= 10) & (frames < 42)) | ((frames >= 60) & (frames < 92))
    assert table["visual_present"].tolist() == seen.tolist()


def test_the_model_carries_what_the_crops_were_made_by(root: Path) -> None:
    for folder in ("fusion", "baselines/audio_only"):
        config = json.loads((root / "models" / folder / "config.json").read_text())
        assert config["frames"] == {"detect_every": 3, "min_confidence": 0.9, "min_face": 40, "jpeg_quality": 90}


def test_the_same_models_give_the_same_bytes(root: Path) -> None:
    evaluate(root)
    folder = root / "reports" / "evaluate"
    names = {"metrics.json", "protocol.json", "comparisons.json", "conditions.json", "tracks.csv", "ccc.png"}
    names |= {"attributes.csv", "plane.png", "video_sums.json"}
    assert names | {"predictions", "traces"} == {path.name for path in folder.iterdir()}
    before = folder_digest(folder)
    (folder / "traces" / "of an earlier corpus.png").write_bytes(b"")
    evaluate(root)
    assert folder_digest(folder) == before


def test_the_page_shows_what_the_model_attended_to(root: Path) -> None:
    metrics = evaluate(root)
    tracks = load_evaluated(root, GEOMETRY)["test"]
    model, _ = load_fusion(root / "models" / "fusion")
    sources = page_sources(root, model, tracks, GEOMETRY, "demo")
    seconds, attention = sources.attention("test-1")
    np.testing.assert_allclose(seconds, np.arange(0, 300, 8) / 25)
    assert all(len(values) == len(seconds) for values in attention.values())
    predictions = predict_tracks(tracks, {"jca": model}, GEOMETRY, 8, "overlap", root, root / "data/raw/demo")
    folder = root / "reports" / "evaluate"
    page = write_page(folder, {"test": predictions}, ["jca"], EVALUATE, ReportSettings(), sources).read_text(
        encoding="utf-8"
    )
    for title in attention:
        assert page.count(title) == 3  # tracks
    assert f"{metrics['test']['jca']['ccc_mean']:.2f} on average" in page
    assert "oracle, both streams" in page


def test_models_of_other_features_are_refused(root: Path) -> None:
    path = root / "models" / "fusion" / "config.json"
    config = json.loads(path.read_text())
    config["feature_spec"]["stride"] = 4
    path.write_text(json.dumps(config))
    with pytest.raises(AVFusionError, match="was trained on other features"):
        evaluate(root)


def test_a_saved_model_predicts_the_same(root: Path) -> None:
    import torch

    model, config = load_fusion(root / "models" / "fusion")
    again, _ = load_fusion(root / "models" / "fusion")
    audio, visual = torch.randn(2, 16, 12), torch.randn(2, 16, 10)
    assert torch.equal(model(audio, visual).predictions, again(audio, visual).predictions)
    assert config["fusion"]["name"] == "jca"
    assert config["corpus"]["validation_digest"]
    weights = root / "models" / "fusion" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInputError, match="is not a whole safetensors file"):
        load_fusion(root / "models" / "fusion")
    with pytest.raises(BadInputError, match="holds no model"):
        load_fusion(root / "models")
