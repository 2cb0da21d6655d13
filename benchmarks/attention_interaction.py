"""Does joint cross-attention find an interaction of the streams, if it gets clean cues and enough tracks?

    python benchmarks/attention_interaction.py --tracks 112 1000 4000

Tracks are drawn like those of `render.emotions: interaction`, but neither rendered nor read: a clip's features are the
cues of its last moment themselves, absent where a stream is hidden. Two models, the paper's `jca` and one that is awake
(`correlation_*` options), against attention neutral at test and their controls trained without attention; three seeds.
Pooled CCC over the clips of 400 test tracks, with 95 % intervals paired over tracks.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from avfusion.corpora.demo.interaction import draw_interacting_split
from avfusion.corpora.demo.latents import STREAMS, Signals, inside
from avfusion.data.geometry import training_sequences
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData
from avfusion.fusion.base import FusionModel
from avfusion.scoring.intervals import ccc_of_sums, interval
from avfusion.scoring.metrics import WEIGHTS, target_sums
from avfusion.scoring.seeds import seed_coefficients
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.sequences import sequence_data
from avfusion.training.settings import TrainSettings

FPS, STRIDE, SECONDS = 25, 32, 20.6  # 16 clips, one sequence
GEOMETRY = GeometrySettings(fps=FPS)
SEEDS = (0, 1, 2)
VALIDATION, TEST = 64, 400
AWAKE = {"correlation_scale": "length", "correlation_norm": True, "correlation_std": 0.5}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "concat": ("concat", {}),
    "temporal_concat, bilstm": ("temporal_concat", {"temporal": "bilstm", "head": "relu"}),
    "jca": ("jca", {"head": "relu"}),
    "jca, awake": ("jca", {"head": "relu", **AWAKE}),
    "recursive_jca": ("recursive_jca", {"head": "relu"}),
    "self_attention": ("self_attention", {}),
}
CONTROLS = {"jca": {"head": "relu", "attention": False}, "self_attention": {"attention": False}}


def track_of(name: str, signals: Signals) -> TrackData:
    """A track whose features are its cues."""
    frames = int(SECONDS * FPS)
    ticks = np.arange(STRIDE - 1, frames, STRIDE)
    times = np.arange(frames) / FPS
    cues = {s: np.stack(list(signals.cues_at(s, times[ticks]).values()), axis=1).astype(np.float32) for s in STREAMS}
    hidden = inside(signals.spans.occlusions, times[ticks])
    unheard = inside(signals.spans.bursts, times[ticks]) | inside(signals.spans.pauses, times[ticks])
    return TrackData(
        track=name,
        video=name,
        split="",
        clip_ticks=ticks,
        audio=cues["audio"],
        visual=cues["visual"],
        audio_present=~unheard,
        visual_present=~hidden,
        time_s=times,
        frame_ticks=np.arange(frames),
        target_frames=ticks,
        labels=signals.latents_at(times).astype(np.float32),
        valid=np.ones(frames, bool),
    )


def draw(count: int, seed: int) -> list[TrackData]:
    """Tracks of one split."""
    rngs = [np.random.default_rng([seed, number]) for number in range(count)]
    return [
        track_of(f"{seed}-{n}", signals) for n, signals in enumerate(draw_interacting_split(rngs, [SECONDS] * count))
    ]


@torch.no_grad()
def predict(model: FusionModel, tracks: Sequence[TrackData]) -> np.ndarray:
    """Predictions (tracks, clips, 2)."""
    model.eval()
    index = training_sequences(len(tracks[0].clip_ticks), STRIDE, model.length, STRIDE)
    assert index.shape == (1, len(tracks[0].clip_ticks))
    parts = ("audio", "visual", "audio_present", "visual_present")
    inputs = [torch.from_numpy(np.stack([getattr(track, part) for track in tracks])) for part in parts]
    return model(*inputs).predictions.numpy()


def sums_of(predictions: np.ndarray, tracks: Sequence[TrackData]) -> np.ndarray:
    """Sums (2, tracks, 6) of predictions and labels at the clips' ends."""
    truth = np.concatenate([track.labels[track.target_frames] for track in tracks])
    return target_sums(predictions.reshape(-1, 2), truth, np.repeat(np.arange(len(tracks)), predictions.shape[1]))


def mean_ccc(sums: np.ndarray) -> float:
    """Mean of valence and arousal, pooled over tracks."""
    return float(np.mean(ccc_of_sums(sums.sum(axis=1))))


def against(own: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> str:
    """The mean difference over seeds, with its interval."""
    both = np.concatenate([*own, *other])
    ends = interval(both, seed_coefficients(WEIGHTS["mean"], (1, -1), len(own)), fisher=False)
    difference = np.mean([mean_ccc(a) - mean_ccc(b) for a, b in zip(own, other, strict=True)])
    return f"{difference:+.3f}" + ("" if ends is None else f" [{ends[0]:+.3f}, {ends[1]:+.3f}]")


def main() -> None:
    """Print a row per model and number of tracks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, nargs="+", default=[112, 1000, 4000])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--models", default=None, help="comma-separated; default: all")
    arguments = parser.parse_args()
    make_deterministic(1)
    validation, test = draw(VALIDATION, 2), draw(TEST, 3)
    print("| tracks | model | test CCC | over neutral at test | over control | best epochs | CPU s |")
    print("|---|---|---|---|---|---|---|", flush=True)

    def fit(name: str, options: dict[str, Any], train: Any, seed: int) -> Any:
        config = TrainSettings(
            model=name,
            epochs=arguments.epochs,
            lr=arguments.lr,
            batch_size=64,
            seed=seed,
            dropout=0.3,
            inference="tile",
        )
        return FusionTraining(name, train, validation, config, GEOMETRY, STRIDE, options, quiet=True).fit()

    for count in arguments.tracks:
        data = sequence_data(draw(count, 1), stride=STRIDE)
        controls: dict[str, list[np.ndarray]] = {}
        for title, (name, options) in RUNS.items():
            if arguments.models and title not in arguments.models.split(";"):
                continue
            began, own, neutral, best = time.process_time(), [], [], []
            if name in CONTROLS and name not in controls:
                found = [fit(name, CONTROLS[name], data, seed).model for seed in SEEDS]
                controls[name] = [sums_of(predict(model, test), test) for model in found]
                scores = [mean_ccc(sums) for sums in controls[name]]
                print(
                    f"| {count} | {name}, control | {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} | – | – | | |"
                )
            for seed in SEEDS:
                result = fit(name, options, data, seed)
                own.append(sums_of(predict(result.model, test), test))
                best.append(result.best_epoch)
                with result.model.neutralised():
                    neutral.append(sums_of(predict(result.model, test), test))
            scores = [mean_ccc(sums) for sums in own]
            gains = [against(own, neutral) if result.model.neutral_form else "–"]
            gains.append(against(own, controls[name]) if name in controls else "–")
            print(
                f"| {count} | {title} | {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} | {' | '.join(gains)} "
                f"| {' '.join(map(str, best))} | {time.process_time() - began:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
