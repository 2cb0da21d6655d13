"""How much there is to do, what it costs, and whether the machine holds it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.table import Track
from avfusion.data.own_labels import OwnLabels
from avfusion.doctor.capacity import look_at_capacity
from avfusion.doctor.costs import Costs, estimate, feature_bytes, timespan
from avfusion.doctor.last_runs import StageTime
from avfusion.doctor.workload import Workload, workload
from avfusion.params.params import Params, check_params

CONFIGS = Path(__file__).parents[2] / "avfusion" / "params" / "presets"
EMPTY = {"video_hash": "", "crops_hash": "", "labels_hash": "", "warnings": ()}
FACTS = {"gpus": [], "memory_gb": 25.0}


def params_of(preset: str, **changes: dict[str, object]) -> Params:
    """A preset with other values: section={key: value}."""
    import yaml

    values = yaml.safe_load((CONFIGS / f"{preset}.yaml").read_text())
    for section, some in changes.items():
        values[section] |= some
    return check_params(values)


def track(name: str, *, video: str = "", split: str = "train", frames: int = 0, crops: int = 0, rows: int = 0) -> Track:
    video = video or name
    folders = (f"crops/{name}",) if crops else ()
    return Track(
        track=name,
        video=video,
        split=split,
        video_path=f"{video}.mp4",
        crops_paths=folders,
        frames=frames,
        fps=25.0 if frames else 0.0,
        duration_s=frames / 25,
        has_audio=video != "mute",
        labels_path=f"{name}.txt" if rows else "",
        label_rows=rows,
        crops=crops,
        **EMPTY,  # type: ignore[arg-type]
    )


def aff_wild2(**changes: object) -> Workload:
    """Of about the size of Aff-Wild2, with crops for all frames."""
    frames = {"train": 1_600_000, "val": 350_000, "test": 750_000}
    whole = Workload(
        tracks=594,
        videos=560,
        assumed_videos=0,
        seconds=90_000.0,
        sound_s=90_000.0,
        frames=frames,
        ticks=frames,
        label_rows=1_950_000,
        crops=2_700_000,
        crop_bytes=16_000_000_000,
        detected=0,
        scored_tracks=76,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def costs_of(work: Workload, params: Params, cores: int = 2) -> Costs:
    return estimate(work, params, cores=cores, last={}, whole={})


def by_stage(costs: Costs) -> dict[str, float]:
    return {stage.stage: stage.cpu_s for stage in costs.stages}


def test_sums_count_videos_once_and_tracks_each():
    tracks = [
        track("v_left", video="v", frames=1000, crops=900, rows=1000),
        track("v_right", video="v", frames=1000, split="val"),
        track("mute", frames=500, split="test"),
        replace(track("broken"), crops=7),
        replace(track("gone"), video_path=""),
    ]
    work = workload(
        tracks, {"v_left", "v_right", "mute", "broken"}, {"crops/v_left/": 5_000_000}, params_of("affwild2").geometry
    )
    assert (work.tracks, work.videos, work.assumed_videos) == (3, 2, 0)
    assert work.frames == {"train": 1000, "val": 1000, "test": 500}
    assert (work.seconds, work.sound_s) == (60.0, 40.0)
    assert (work.crops, work.crop_bytes, work.detected, work.label_rows) == (900, 5_000_000, 1500, 1000)
    assert work.clips(1) == 2500
    assert work.clips(8, "train", "test") == 125 + 62


def test_clips_are_counted_on_the_clock_of_the_geometry():
    sixty = replace(track("a", frames=6000), duration_s=100.0)
    assert workload([sixty], {"a"}, {}, params_of("affwild2").geometry).ticks == {"train": 6000}
    assert workload([sixty], {"a"}, {}, params_of("demo").geometry).ticks == {"train": 2500}


def test_lengths_that_are_not_known_are_those_of_labels_or_crops_else_by_bytes():
    tracks = [
        track("pair_left", video="pair", rows=300),
        track("pair_right", video="pair", crops=400),
        track("bytes", split="test"),
        replace(track("bytes", split="test", rows=99_999), track="own", label_format="csv"),
        track("known", frames=50),
    ]
    work = workload(tracks, {"known"}, {"bytes.mp4": 2_000_000}, params_of("affwild2").geometry)
    assert work.assumed_videos == 2
    assert work.frames == {"train": 400 + 400 + 50, "test": 600}
    assert work.seconds == pytest.approx(400 / 30 + 10 + 2)


def test_lengths_that_are_not_known_reach_as_far_as_own_labels():
    def labels(by: str, *stamps: float) -> OwnLabels:
        return OwnLabels(by, np.array(stamps), np.zeros((len(stamps), 2)), np.ones(len(stamps), bool))  # type: ignore[arg-type]

    own = {"rows": labels("row", 1, 2, 3), "frames": labels("frame", 1, 90), "times": labels("time", 0.5, 12.0)}
    tracks = [replace(track(name, rows=2), label_format="csv", label_delay_s=2.0) for name in own]
    sizes = {f"{name}.mp4": 2_000_000 for name in own}
    work = workload(tracks, set(), sizes, params_of("affwild2").geometry, own)
    assert work.frames == {"train": 3 + 90 + 300}
    assert work.assumed_videos == 3


def test_the_paper_on_two_cores_takes_hundreds_of_hours_most_of_it_features():
    params = params_of("affwild2")
    costs = costs_of(aff_wild2(), params)
    assert costs.clips == 2_700_000
    cpu = by_stage(costs)
    assert list(cpu) == [
        "corpus",
        "labels",
        "frames",
        "audio",
        "backbones",
        "features",
        "train",
        "evaluate",
        "robustness",
    ]
    assert 200 < cpu["features"] / 3600 < 600
    assert cpu["features"] > 0.5 * sum(cpu.values())
    features = next(stage for stage in costs.stages if stage.stage == "features")
    assert features.wall_s == pytest.approx(features.cpu_s / 2, rel=1e-3)
    assert features.work == "2,700,000 clips (stride 1), r2plus1d_18 and resnet18, float32"
    assert cpu["corpus"] < 60 < cpu["frames"] < 1000
    assert costs.wall_hours == pytest.approx(sum(stage.wall_s for stage in costs.stages) / 3600, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "stage", "factor"),
    [
        ({"features": {"stride": 8}}, "features", 1 / 8),
        ({"features": {"dtype": "bfloat16"}}, "features", 0.38),
        ({"features": {"dtype": "float16"}}, "features", 1),
        ({"backbones": {"output": "map"}}, "train", 6),
        ({"backbones": {"folds": 4}}, "backbones", 5),
        ({"train": {"epochs": 5}}, "train", 0.1),
        ({"train": {"baselines": []}}, "train", 0.64),
    ],
)
def test_costs_follow_the_parameters(changes, stage, factor):
    before, after = (by_stage(costs_of(aff_wild2(), params_of("affwild2", **some))) for some in ({}, changes))
    assert after[stage] / before[stage] == pytest.approx(factor, rel=0.1)


def test_the_layout_frames_costs_rows_and_windows():
    work, at_once = aff_wild2(), {"window_frames": 320, "window_hop": 160}
    frames = {"features": {"layout": "frames", "stride": 8}, "geometry": at_once, "robustness": {"stride": 8}}
    encoder = {"visual": {"name": "resnet18_frames", "weights": "imagenet"}, "audio": {"name": "resnet18"}}
    found = {}
    for layout in ("clips", "frames"):
        frames["features"]["layout"] = layout
        params = params_of("affwild2", **frames, train={"model": "grjca", "baselines": []})
        alone = {
            stream: one.model_copy(update=encoder[stream]) for stream, one in params.backbones if stream in encoder
        }
        params = params.replaced(backbones=params.backbones.model_copy(update=alone))
        found[layout] = costs_of(work, params)
    clips, rows = (by_stage(found[layout]) for layout in ("clips", "frames"))
    audio, visual = 337_500 * 7e-3, 337_500 * 0.07
    assert clips["features"] == pytest.approx(audio + visual, rel=1e-3)
    assert rows["features"] == pytest.approx(audio + visual / 8, rel=1e-3), "a crop is encoded once"
    assert "337,500 frames (stride 8)" in {stage.stage: stage.work for stage in found["frames"].stages}["features"]
    trained, checked = 50 * 12_500 * 700e-6, 50 * 43_750 * 480e-6
    assert clips["train"] == pytest.approx(trained + checked, rel=1e-3)
    assert rows["train"] == pytest.approx(2 * trained + checked * 2 / 16, rel=1e-3), "two windows hold a frame"
    assert rows["evaluate"] < clips["evaluate"]


def test_robustness_costs_its_tracks_and_one_more_training():
    untrained = {"train": {"epochs": 0}}
    settings = [{"tracks": 12}, {"tracks": 24}, {"tracks": 12, "stride": 16}]
    found = [by_stage(costs_of(aff_wild2(), params_of("affwild2", **untrained, robustness=some))) for some in settings]
    base, twice, denser = (costs["robustness"] for costs in found)
    assert twice / base == pytest.approx(2, rel=0.01)
    assert denser / base == pytest.approx(2, rel=0.01)
    trained = by_stage(costs_of(aff_wild2(), params_of("affwild2", train={"baselines": []})))
    assert trained["robustness"] - base == pytest.approx(trained["train"], rel=0.1)


@pytest.mark.parametrize(
    ("execution", "cores", "parallel"),
    [
        ({"workers": 2}, 16, 2),
        ({"workers": 16}, 4, 4),
        ({"executor": "serial", "workers": 8}, 16, 1),
        ({"executor": "ray", "workers": 32}, 4, 32),
    ],
)
def test_time_is_cpu_time_over_workers_or_cores(execution, cores, parallel):
    costs = costs_of(aff_wild2(), params_of("affwild2", execution=execution), cores)
    for name in ("frames", "audio", "features"):
        stage = next(stage for stage in costs.stages if stage.stage == name)
        assert stage.wall_s == pytest.approx(stage.cpu_s / parallel, rel=0.01, abs=0.1)


def test_faces_that_have_to_be_detected_cost_more_than_ready_crops():
    ready = costs_of(aff_wild2(), params_of("affwild2"))
    none = aff_wild2(crops=0, crop_bytes=0, detected=2_700_000)
    detected = costs_of(none, params_of("affwild2"))
    seldom = costs_of(none, params_of("affwild2", frames={"detect_every": 20}))
    cost = [by_stage(costs)["frames"] for costs in (ready, seldom, detected)]
    assert cost[0] * 5 < cost[1] < cost[2] * 0.6
    assert [stage.work for stage in detected.stages if stage.stage == "frames"] == [
        "0 ready crops, 2,700,000 frames to detect faces in (one of 5)"
    ]


def test_sizes_of_the_stores():
    params = params_of("affwild2")
    sizes = {stage.stage: stage.gigabytes for stage in costs_of(aff_wild2(), params).stages}
    assert sizes["frames"] == 16.0
    assert sizes["audio"] == pytest.approx(90_000 * 88_200 / 1e9, abs=0.01)
    assert sizes["features"] == pytest.approx(2_700_000 * 1024 * 2 / 1e9, abs=0.01)
    assert feature_bytes(2_700_000, params_of("affwild2", backbones={"output": "map"})) / 1e9 == pytest.approx(
        138.2, 0.01
    )
    narrow = params_of("demo")
    assert feature_bytes(100, narrow) == 100 * (64 + 128) * 2


def test_times_of_whole_runs_stand_instead_of_estimates():
    params = params_of("affwild2")
    times = {"audio": StageTime(10.0, 19.0, 0.0), "features": StageTime(7.0, 8.0, 0.0)}
    costs = estimate(aff_wild2(), params, cores=2, last=times, whole={"audio": times["audio"]})
    stages = {stage.stage: stage for stage in costs.stages}
    assert (stages["audio"].basis, stages["audio"].cpu_s, stages["audio"].wall_s) == ("last run", 19.0, 10.0)
    assert (stages["features"].basis, stages["features"].last_run_s) == ("estimate", 7.0)
    assert stages["features"].cpu_s > 1e5
    assert stages["frames"].last_run_s is None


def capacity(tmp_path: Path, params: Params, work: Workload, **facts: object) -> dict[str, tuple[str, str]]:
    items = look_at_capacity(tmp_path, params, work, costs_of(work, params), FACTS | facts)
    return {item.name: (item.status, item.text) for item in items}


def test_a_disk_that_does_not_hold_the_maps_is_noticed_with_what_takes_less(tmp_path):
    huge = {split: 1000 * count for split, count in aff_wild2().frames.items()}
    params = params_of("affwild2", backbones={"output": "map"})
    status, text = capacity(tmp_path, params, aff_wild2(ticks=huge))["disk"]
    assert status == "warn"
    assert "features 138,240 GB" in text
    assert " too little, most of it for features" in text
    assert "backbones.output pooled takes 5,530 GB, features.stride 8 takes 17,280 GB" in text
    small = aff_wild2(frames={"train": 10}, ticks={"train": 10}, sound_s=1.0, crop_bytes=1, label_rows=1, tracks=1)
    assert capacity(tmp_path, params_of("demo"), small)["disk"][0] == "ok"


def test_what_is_stored_already_needs_no_more_room(tmp_path):
    work = aff_wild2(crop_bytes=400_000_000)
    before = capacity(tmp_path, params_of("affwild2"), work)["disk"][1]
    assert "frames 400 MB" in before
    (tmp_path / "data/frames").mkdir(parents=True)
    with open(tmp_path / "data/frames/a.parquet", "wb") as file:
        file.truncate(400_000_000)
    assert "frames" not in capacity(tmp_path, params_of("affwild2"), work)["disk"][1]


def test_memory_and_time_are_judged(tmp_path):
    params = params_of("affwild2")
    found = capacity(tmp_path, params, aff_wild2(), memory_gb=16.0)
    assert found["memory"] == ("warn", "the stages that hold the most: backbones 18.8, train 9.5 of 16 GB")
    assert capacity(tmp_path, params, aff_wild2(), memory_gb=64.0)["memory"][0] == "ok"
    assert capacity(tmp_path, params, aff_wild2(), memory_gb=None).keys() == {"disk", "time"}
    maps = params_of("affwild2", backbones={"output": "map"})
    assert "train 201.2" in capacity(tmp_path, maps, aff_wild2(), memory_gb=64.0)["memory"][1]
    status, text = found["time"]
    assert status == "warn"
    assert (
        "of it for features: a GPU takes a small part of that; features.stride 8 makes far fewer clips; `avfusion"
        in text
    )
    sparse = params_of("affwild2", features={"stride": 8})
    assert (
        "for backbones: a GPU takes a small part of that; backbones.visual.steps_per_epoch"
        in capacity(tmp_path, sparse, aff_wild2())["time"][1]
    )
    assert "the GPU is used" in capacity(tmp_path, params, aff_wild2(), gpus=["some card"])["time"][1]
    slow = params_of("affwild2", features={"dtype": "float16"})
    assert "features.dtype bfloat16 is faster than float16" in capacity(tmp_path, slow, aff_wild2())["time"][1]
    assert capacity(tmp_path, params_of("demo"), aff_wild2(ticks={"train": 800}))["time"][0] == "ok"


def test_clock_has_two_digits_or_so():
    assert [timespan(s) for s in (0.4, 89, 91, 5399, 5400, 35_000, 800_000, 9e6)] == [
        "0 s", "89 s", "2 min", "90 min", "1.5 h", "9.7 h", "222 h", "2,500 h",
    ]  # fmt: skip
