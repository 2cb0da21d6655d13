"""When does joint cross-attention pay? Single streams, concatenation and attention under factors that may decide it.

    python benchmarks/attention_factors.py --project DEMO --work FOLDER            # about an hour of one core
    python benchmarks/attention_factors.py --project DEMO --work FOLDER --only lr  # the cells of some factors

A cell is one level of one factor: all models with all seeds, trained and scored alike. DEMO is a project whose demo
corpus went through the stage `features`; nothing is written into it. FOLDER keeps the sums of every finished cell, so
an interrupted run goes on, and the projects that some cells need: other backbones, another corpus. The table is made
from the finished cells (attention_table.py).
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from attention_table import WINDOWS, save_cell, write_table

from avfusion.backbones.folds import split_groups, without_groups
from avfusion.corpora.demo import latents
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.demo.truth import truth_folder
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import load_evaluated, predict_tracks
from avfusion.experiments.robustness.features import track_random
from avfusion.experiments.training import read_inputs
from avfusion.fusion.catalogue import tunable_options
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import load_params
from avfusion.params.yaml_text import with_values
from avfusion.scoring.metrics import target_sums, valid_pairs
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.settings import TrainSettings

MODELS = ("audio_only", "visual_only", "late", "concat", "jca")
SEEDS = (0, 1, 2)
REPOSITORY = Path(__file__).resolve().parents[1]
BLOCK_TICKS = 75  # 3 s at 25 fps: longer than a clip, so that a lost stream stays lost for some clips
Change = Callable[[TrackData, Mapping[str, np.ndarray]], TrackData]
Choice = Callable[[Sequence[TrackData], int], list[TrackData]]


@dataclass(frozen=True)
class Cell:
    """One level of a factor.

    Attributes:
        name: of its file.
        factor, level: for people.
        train, geometry: values of these sections that differ from the demo's; options go to every model that has them.
        options: of the models.
        tracks: which training tracks fusion sees, given the seed; None: all.
        change: what is done to the features of all tracks, given each feature's standard deviation by stream.
        project: which project's features; "demo" or a key of `PROJECTS`.
    """

    name: str
    factor: str
    level: str
    train: Mapping[str, Any] = field(default_factory=dict)
    geometry: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tracks: Choice | None = None
    change: Change | None = None
    project: str = "demo"


def drawn(count: int) -> Choice:
    """`count` tracks, others for every seed."""

    def choose(tracks: Sequence[TrackData], seed: int) -> list[TrackData]:
        chosen = np.random.default_rng([seed, count]).choice(len(tracks), size=count, replace=False)
        return [tracks[at] for at in sorted(chosen)]

    return choose


def seen(tracks: Sequence[TrackData], seed: int) -> list[TrackData]:
    """Those that the backbones of the project `half` were trained on."""
    return without_groups(tracks, split_groups(tracks, 2)[0])


def unseen(tracks: Sequence[TrackData], seed: int) -> list[TrackData]:
    """The others."""
    return without_groups(tracks, split_groups(tracks, 2)[1])


def in_blocks(track: TrackData) -> np.ndarray:
    """What happens to each clip (T,): 0 nothing (40 %), 1 to its sound, 2 to its face, in blocks of 3 s."""
    blocks = track.clip_ticks // BLOCK_TICKS
    states = track_random(0, track.track).choice(3, size=int(blocks.max()) + 1, p=(0.4, 0.3, 0.3))
    return np.asarray(states[blocks])


def lose_streams(track: TrackData, deviations: Mapping[str, np.ndarray]) -> TrackData:
    """One stream at a time is absent for 3 s, and every model is told so."""
    state = in_blocks(track)
    return replace(
        track, audio_present=track.audio_present & (state != 1), visual_present=track.visual_present & (state != 2)
    )


def spoil_streams(track: TrackData, deviations: Mapping[str, np.ndarray]) -> TrackData:
    """One stream at a time is noise for 3 s, of twice the features' standard deviation, and no mask says so."""
    return _noisy(track, deviations, {"audio": in_blocks(track) == 1, "visual": in_blocks(track) == 2}, 2.0)


def spoil_clips(track: TrackData, deviations: Mapping[str, np.ndarray]) -> TrackData:
    """Every clip of both streams carries noise of its own: what neighbouring clips could average out."""
    always = np.ones(len(track.clip_ticks), bool)
    return _noisy(track, deviations, {"audio": always, "visual": always}, 2.0)


def _noisy(
    track: TrackData, deviations: Mapping[str, np.ndarray], where: Mapping[str, np.ndarray], scale: float
) -> TrackData:
    random = track_random(1, track.track)
    parts = {}
    for stream, at in where.items():
        features = getattr(track, stream).astype(np.float32)
        noise = scale * deviations[stream] * random.standard_normal(features.shape)
        parts[stream] = (features + noise * at[:, None]).astype(np.float16)
    return replace(track, **parts)


CELLS = (
    Cell("demo", "the demo as it is", "60 tracks, 16 clips, lr 1e-4"),
    Cell("lr-1e-3", "learning rate", "1e-3", train={"lr": 1e-3}),
    Cell("lr-3e-3", "learning rate", "3e-3", train={"lr": 3e-3}),
    Cell("length-8", "sequence length", "8 clips", geometry={"sequence_clips": 8}),
    Cell("length-32", "sequence length", "32 clips", geometry={"sequence_clips": 32}),
    Cell("k-8", "width", "k 8", options={"k": 8}),
    Cell("k-128", "width", "k 128", options={"k": 128}),
    Cell("encoder-32", "width", "encoder 32", options={"encoder_width": 32}),
    Cell("encoder-256", "width", "encoder 256", options={"encoder_width": 256}),
    Cell("offset-8", "target offset", "-8 frames", geometry={"target_offset": -8}),
    Cell("offset-16", "target offset", "-16 frames", geometry={"target_offset": -16}),
    Cell("tracks-10", "training tracks of fusion", "10", tracks=drawn(10)),
    Cell("tracks-20", "training tracks of fusion", "20", tracks=drawn(20)),
    Cell("tracks-40", "training tracks of fusion", "40", tracks=drawn(40)),
    Cell("absent", "reliability in time", "a stream absent in 60 %", change=lose_streams),
    Cell("spoilt", "reliability in time", "a stream noise in 60 %", change=spoil_streams),
    Cell("noisy", "reliability in time", "noise in every clip", change=spoil_clips),
    Cell("no-gaps", "reliability in time", "no occlusions, bursts, pauses", project="no-gaps"),
    Cell("half-seen", "features", "30 tracks that trained the backbones", tracks=seen, project="half"),
    Cell("half-unseen", "features", "30 tracks new to the backbones", tracks=unseen, project="half"),
    Cell("folds", "features", "out of fold, two folds", project="folds"),
)


def run_cell(cell: Cell, root: Path, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Train and score all models; sums (2 S, V, 6) per base video by "<split>/<raw|smoothed>/<model>"."""
    params = load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
    make_deterministic(params.common.threads)
    geometry = GeometrySettings.model_validate(params.geometry.model_dump() | dict(cell.geometry))
    inputs, evaluated = read_inputs(root, geometry), load_evaluated(root, geometry)
    stride, truth = inputs.feature_spec.stride, truth_folder(root, params.corpus)
    if cell.change:
        deviations = {
            stream: np.concatenate([getattr(track, stream) for track in inputs.train]).astype(np.float32).std(axis=0)
            for stream in ("audio", "visual")
        }
        change = cell.change
        inputs = replace(
            inputs,
            train=[change(track, deviations) for track in inputs.train],
            validation=[change(track, deviations) for track in inputs.validation],
        )
        evaluated = {split: [change(track, deviations) for track in tracks] for split, tracks in evaluated.items()}
    scored = {
        split: predict_tracks(tracks, {}, geometry, stride, "overlap", root, truth)
        for split, tracks in evaluated.items()
    }
    for seed in seeds:
        known = replace(inputs, train=cell.tracks(inputs.train, seed) if cell.tracks else inputs.train)
        data = known.sequences(geometry)
        for name in MODELS:
            options = {key: value for key, value in cell.options.items() if key in tunable_options(name)}
            config = TrainSettings.model_validate(
                params.train.model_dump() | {"model": name, "options": options, "seed": seed, **cell.train}
            )
            training = FusionTraining(
                name, data, inputs.validation, config, geometry, stride, options=options, quiet=True
            )
            result = training.fit()
            print(f"  {name}, seed {seed}: best epoch {result.best_epoch} of {len(result.history)}", flush=True)
            for split, tracks in evaluated.items():
                for entry, track in zip(scored[split], tracks, strict=True):
                    entry.predictions[_entry(name, seed)] = predict_track(
                        result.model, track, geometry, stride, config.inference
                    )
    return {
        f"{split}/{kind}/{name}": np.concatenate(
            [target_sums(*valid_pairs(tracks, _entry(name, seed), windows)) for seed in seeds]
        )
        for split, tracks in scored.items()
        for kind, windows in WINDOWS.items()
        for name in MODELS
    }


def _entry(name: str, seed: int) -> str:
    return f"{name}, seed {seed}"


def half_of_the_tracks(demo: Path, root: Path) -> None:
    """Backbones trained without the first of two folds, and their features of all tracks."""
    _project(demo, root, shared=("raw", "labels", "frames", "audio"))
    table = read_tracks(demo / "data" / "corpus" / "tracks.parquet")
    (root / "data" / "corpus").mkdir()
    for stage, tracks in (("backbones", without_groups(table, split_groups(table, 2)[0])), ("features", table)):
        write_tracks(root / "data" / "corpus" / "tracks.parquet", tracks)
        _stages(root, stage)


def out_of_fold(demo: Path, root: Path) -> None:
    """Training features from backbones that never saw the video: `backbones.folds: 2`."""
    _project(demo, root, shared=("raw", "corpus", "labels", "frames", "audio"), folds=2)
    # What is made already: backbones of all tracks and of the first fold, features of the other splits.
    for known in (demo, root.parent / "half"):
        shutil.copytree(known / ".avfusion" / "backbones", root / ".avfusion" / "backbones", dirs_exist_ok=True)
    shutil.copytree(demo / "data" / "features", root / "data" / "features")
    _stages(root, "backbones", "features")


def without_gaps(demo: Path, root: Path) -> None:
    """The same people saying and showing the same, never occluded, paused or drowned in noise.

    Signals are drawn in this process and rendered in others, so the shares of the gaps are set here; they are drawn
    last of all of a track's signals, so that nothing else changes.
    """
    _project(demo, root, shared=())
    shares = ("OCCLUDED_SHARE", "BURST_SHARE", "PAUSE_SHARE")
    before = {name: getattr(latents, name) for name in shares}
    params = load_params(root / "params.yaml", ("render",))
    try:
        for name in shares:
            setattr(latents, name, 0.0)
        render_demo(root / "data" / "raw" / "demo", params.render, params.execution)
    finally:
        for name, value in before.items():
            setattr(latents, name, value)
    _stages(root, "render", "corpus", "labels", "frames", "audio", "backbones", "features")


PROJECTS = {"half": half_of_the_tracks, "folds": out_of_fold, "no-gaps": without_gaps}


def _project(demo: Path, root: Path, shared: Sequence[str], folds: int = 0) -> None:
    """An empty project that shares some of the demo's stores."""
    (root / "data").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    text = (demo / "params.yaml").read_text(encoding="utf-8")
    text = with_values(with_values(text, "execution", {"workers": 1}), "backbones", {"folds": folds})
    (root / "params.yaml").write_text(text, encoding="utf-8")
    for name in shared:
        (root / "data" / name).symlink_to((demo / "data" / name).resolve())


def _stages(root: Path, *names: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for name in names:
        subprocess.run([sys.executable, REPOSITORY / "pipelines" / f"{name}.py"], cwd=root, env=environment, check=True)


def project_of(cell: Cell, demo: Path, work: Path) -> Path:
    """The project whose features the cell needs, made if it is not there."""
    if cell.project == "demo":
        return demo
    root = work / "projects" / cell.project
    if not (root / "done").is_file():
        shutil.rmtree(root, ignore_errors=True)
        PROJECTS[cell.project](demo, root)
        (root / "done").touch()
    return root


def main() -> None:
    """Run the cells that are missing, then write the table."""
    parser = argparse.ArgumentParser(description="When does joint cross-attention pay?")
    parser.add_argument("--project", type=Path, required=True, help="a finished demo")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished cells and of other projects")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the names of cells")
    arguments = parser.parse_args()
    work, demo = arguments.work.resolve(), arguments.project.resolve()
    for cell in [cell for start in arguments.only for cell in CELLS if cell.name.startswith(start)]:
        path = work / "cells" / f"{cell.name}.npz"
        if path.is_file():
            continue
        print(f"{cell.factor}: {cell.level} (load {os.getloadavg()[0]:.1f})", flush=True)
        began = time.process_time()
        root = project_of(cell, demo, work)
        sums = run_cell(cell, root, SEEDS)
        save_cell(path, sums, factor=cell.factor, level=cell.level, seconds=time.process_time() - began)
    order = [cell.name for cell in CELLS]
    print(write_table(work, order))


if __name__ == "__main__":
    main()
