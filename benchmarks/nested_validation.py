"""How far does choosing among trainings raise a validation score? Labels without any signal have the answer: to 0.

    python benchmarks/nested_validation.py                  # about 20 minutes of one core

Features and labels are smooth noise, drawn apart for every video, so that no model has a true score other than 0. Of 30
trainings with drawn model, learning rate, dropout, weight decay and seed the best is reported, as a sweep does: its CCC
on the official validation split, with the interval of the report. With `train.stopping: validation` that split decided
epochs, learning rate and trial; with `inner` it was scored once.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.experiments.stopping import part
from avfusion.fusion.track_inference import predict_track
from avfusion.scoring.ccc import ccc
from avfusion.scoring.intervals import interval
from avfusion.scoring.metrics import target_sums
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data
from avfusion.training.settings import TrainSettings

STRIDE, FRAMES, WIDTH = 8, 160, 16
GEOMETRY = GeometrySettings(fps=25)
TRAIN, VALIDATION = 24, 24  # videos


def smooth_noise(rng: np.random.Generator, frames: int, columns: int) -> np.ndarray:
    """Curves (N, C) of standard deviation 1 around a level of their own, that change over some seconds."""
    steps = rng.normal(size=(frames // 100 + 2, columns))
    at = np.linspace(0, len(steps) - 1.001, frames)
    low, share = at.astype(int), (at % 1)[:, None]
    curves = steps[low] * (1 - share) + steps[low + 1] * share + rng.normal(size=columns)
    return np.asarray(curves / np.sqrt(2), np.float32)


def noise_track(rng: np.random.Generator, name: str, split: str) -> TrackData:
    """A track whose features know nothing of its labels."""
    ticks = np.arange(0, FRAMES, STRIDE)
    present = np.ones(len(ticks), bool)
    return TrackData(
        track=name,
        video=name,
        split=split,
        clip_ticks=ticks,
        audio=smooth_noise(rng, FRAMES, WIDTH)[ticks],
        visual=smooth_noise(rng, FRAMES, WIDTH)[ticks],
        audio_present=present,
        visual_present=present,
        time_s=np.arange(FRAMES) / 25,
        frame_ticks=np.arange(FRAMES),
        target_frames=ticks,
        labels=np.clip(0.3 * smooth_noise(rng, FRAMES, 2), -1, 1),
        valid=np.ones(FRAMES, bool),
    )


@dataclass(frozen=True)
class Reported:
    """What a sweep's best trial reports on the official validation split: mean CCC and its 95 % interval."""

    score: float
    low: float
    high: float

    @property
    def excludes_0(self) -> bool:
        """Whether the interval claims a score where there is none."""
        return self.low > 0 or self.high < 0


def drawn_config(rng: np.random.Generator, trial: int, epochs: int) -> TrainSettings:
    """A point of a sweep."""
    values: dict[str, Any] = {"lr": 10 ** rng.uniform(-4, -2), "dropout": round(rng.uniform(0, 0.8), 1)}
    values["weight_decay"] = float(rng.choice([0.0, 1e-4, 1e-3]))
    model = str(rng.choice(["concat", "audio_only", "visual_only"]))
    return TrainSettings(model=model, baselines=(), epochs=epochs, seed=trial, batch_size=16, **values)


def sweep(seed: int, *, trials: int = 30, epochs: int = 8) -> dict[str, Reported]:
    """Both ways of stopping on one corpus of noise, by name."""
    make_deterministic(1)
    rng = np.random.default_rng(seed)
    train = [noise_track(rng, f"train-{n}", "train") for n in range(TRAIN)]
    validation = [noise_track(rng, f"val-{n}", "val") for n in range(VALIDATION)]
    rest, inner = part(train)
    points = [drawn_config(rng, trial, epochs) for trial in range(trials)]
    return {
        "inner": best_of(points, rest, inner, validation),
        "validation": best_of(points, train, validation, validation),
    }


def best_of(
    points: Sequence[TrainSettings],
    train: Sequence[TrackData],
    stopping: Sequence[TrackData],
    validation: Sequence[TrackData],
) -> Reported:
    """The trial that is best on `stopping`, scored on the official validation split."""
    data, best = sequence_data(train, stride=STRIDE), (-np.inf, None)
    for config in points:
        found = FusionTraining(config.model, data, stopping, config, GEOMETRY, STRIDE, quiet=True).fit()
        score = max(row["val_ccc_mean"] for row in found.history)
        if score > best[0]:
            best = (score, found.model)
    model = best[1]
    assert model is not None
    predictions = np.concatenate([predict_track(model, track, GEOMETRY, STRIDE, "overlap") for track in validation])
    labels = np.concatenate([track.labels for track in validation])
    groups = np.repeat(np.arange(len(validation)), FRAMES)
    low, high = interval(target_sums(predictions, labels, groups), (0.5, 0.5)) or (np.nan, np.nan)
    return Reported(float(np.mean([ccc(predictions[:, c], labels[:, c]) for c in range(2)])), low, high)


def main() -> None:
    """Print a line per corpus; how often its interval excluded 0; and the mean over corpora with its own interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=12)
    parser.add_argument("--trials", type=int, default=30)
    options = parser.parse_args()
    every = []
    for seed in range(options.corpora):
        every.append(sweep(seed, trials=options.trials))
        print(seed, {name: f"{r.score:.3f} [{r.low:.3f}, {r.high:.3f}]" for name, r in every[-1].items()}, flush=True)
    for name in every[0]:
        scores = [found[name].score for found in every]
        false = sum(found[name].excludes_0 for found in every)
        half = float(stats.t.ppf(0.975, len(scores) - 1)) * np.std(scores, ddof=1) / np.sqrt(len(scores))
        mean = f"{np.mean(scores):.3f} [{np.mean(scores) - half:.3f}, {np.mean(scores) + half:.3f}]"
        print(f"{name}: mean CCC {mean} over corpora; the interval of one excludes 0 in {false} of {len(every)}")


if __name__ == "__main__":
    main()
