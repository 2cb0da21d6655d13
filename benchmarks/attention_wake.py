"""What wakes joint cross-attention? jca with each of the options for it, against itself without attention.

    python benchmarks/attention_wake.py --project DEMO --work FOLDER                # 60 trainings, 15 CPU-minutes
    python benchmarks/attention_wake.py --project DEMO --work FOLDER --only plain   # the variants of some names

DEMO is a project whose corpus went through the stage `features`; nothing is written into it. A variant is jca under
some options, with three seeds. Its control is trained without attention, likewise; options of C change no number of it,
so variants share controls. FOLDER keeps the sums of every finished variant and the epochs of an unfinished one, so an
interrupted run goes on. Of each variant: the standard deviation of C, and the share of the cross part in the attended
update, at the start, at the best epoch (the model that is scored) and after the last; the score; its difference from
attention neutral at test, from the control, and from the plain jca. Over test tracks, into FOLDER/wake.csv and wake.md.
"""

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_factors import SEEDS
from attention_table import Scores, read_cell, save_cell

from avfusion.corpora.demo.truth import truth_folder
from avfusion.data.geometry import PADDING, training_sequences
from avfusion.data.track_data import TrackData
from avfusion.experiments.evaluate import load_evaluated, predict_tracks
from avfusion.experiments.training import read_inputs
from avfusion.fusion.base import FusionModel
from avfusion.fusion.track_inference import predict_track
from avfusion.params.params import load_params
from avfusion.reports.attention_gain import shown_difference
from avfusion.reports.report import write_csv
from avfusion.runtime.atomic import write_text
from avfusion.scoring.intervals import interval
from avfusion.scoring.metrics import NAMES, WEIGHTS, target_sums, valid_pairs
from avfusion.scoring.seeds import seed_coefficients
from avfusion.training.checkpoints import CHECKPOINT
from avfusion.training.determinism import make_deterministic
from avfusion.training.loop import FusionTraining
from avfusion.training.settings import TrainSettings

VIEW = "test/raw"
MOMENTS = ("start", "best", "last")
PLAIN = "plain"


@dataclass(frozen=True)
class Variant:
    """jca with options, and values of the section `train` that differ from the project's."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    @property
    def control(self) -> "Variant":
        """Without attention."""
        name = "control" + "".join(f", {key} {value}" for key, value in self.train.items())
        return Variant(name, {"attention": False}, self.train)


LENGTH, LEARNT = {"correlation_scale": "length"}, {"correlation_scale": "learnt"}
NORM, START, DROPOUT = {"correlation_norm": True}, {"correlation_std": 0.5}, {"correlation_dropout": 0.6}
RANDOM, WARMUP, FAST = {"sequence_offsets": "random"}, {"warmup_epochs": 5}, {"lr": 1e-3}
VARIANTS = (
    Variant(PLAIN),
    Variant("scale length", LENGTH),
    Variant("scale learnt", LEARNT),
    Variant("norm", NORM),
    Variant("std .5", START),
    Variant("dropout .6 on C", DROPOUT),
    Variant("warm-up 5", train=WARMUP),
    Variant("offsets random", train=RANDOM),
    Variant("length + norm + std", LENGTH | NORM | START),
    Variant("wide awake: length + norm + std + offsets", LENGTH | NORM | START, RANDOM),
    Variant("wide awake: learnt + norm + std + offsets", LEARNT | NORM | START, RANDOM),
    Variant("wide awake + dropout + warm-up", LENGTH | NORM | START | DROPOUT, RANDOM | WARMUP),
    Variant("lr 1e-3", train=FAST),
    Variant("lr 1e-3, wide awake", LENGTH | NORM | START, RANDOM | FAST),
)


class Project:
    """Features and labels of a project, and how its models are trained and scored."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params = load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
        self.geometry = self.params.geometry
        make_deterministic(self.params.common.threads)
        self.inputs, self.test = read_inputs(root, self.geometry), load_evaluated(root, self.geometry)["test"]
        self.stride = self.inputs.feature_spec.stride

    @cached_property
    def data(self) -> Any:
        """The training split as one table of clips."""
        return self.inputs.sequences(self.geometry)

    def training(self, variant: Variant, seed: int, **train: Any) -> FusionTraining:
        """The training of a variant; `train` as in params.yaml."""
        values = {"model": "jca", "options": dict(variant.options), "seed": seed, **variant.train, **train}
        config = TrainSettings.model_validate(self.params.train.model_dump() | values)
        return FusionTraining(
            "jca", self.data, self.inputs.validation, config, self.geometry, self.stride, config.options, quiet=True
        )

    def sums(self, predictions: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """Sums (2, V, 6) over the test videos of predictions (N, 2) of each test track, by name."""
        truth = truth_folder(self.root, self.params.corpus)
        entries = predict_tracks(self.test, {}, self.geometry, self.stride, "overlap", self.root, truth)
        for name, values in predictions.items():
            for entry, of_track in zip(entries, values, strict=True):
                entry.predictions[name] = of_track
        return {name: target_sums(*valid_pairs(entries, name)) for name in predictions}

    def predict(self, model: FusionModel) -> list[np.ndarray]:
        """Predictions (N, 2) of each test track."""
        mode = self.params.train.inference
        return [predict_track(model, track, self.geometry, self.stride, mode) for track in self.test]


@torch.no_grad()
def wakefulness(model: FusionModel, tracks: Sequence[TrackData], stride: int, clip_frames: int) -> tuple[float, float]:
    """Standard deviation of C's entries, and the share of the cross part in the attended update, over both streams.

    The update is what attention adds to a stream, U = X_att - X; the cross part is U - U', with U' at C = 0; the share
    is the ratio of their root mean squares over clips. Sequences are those of training with fixed offsets.
    """
    encoded: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(model, f"{stream}_encoder").register_forward_hook(
            lambda _, __, output, stream=stream: encoded.update({stream: output})
        )
        for stream in ("audio", "visual")
    ]
    model.eval()
    total = dict.fromkeys(("count", "sum", "squares", "update", "cross"), 0.0)
    for track in tracks:
        index = torch.from_numpy(training_sequences(len(track.clip_ticks), stride, model.length, clip_frames))
        at, padding = index.clamp_min(0), index == PADDING
        arrays = (track.audio, track.visual, track.audio_present, track.visual_present)
        inputs = [torch.from_numpy(np.asarray(array))[at] for array in arrays]
        out = model(*inputs, padding)
        with model.neutralised():
            neutral = model(*inputs, padding)
        for stream in ("audio", "visual"):
            c = out.maps[f"{stream}_correlation"].double()
            total["count"] += c.numel()
            total["sum"] += float(c.sum())
            total["squares"] += float(c.square().sum())
            attended, without = (getattr(one, f"attended_{stream}")[~padding].double() for one in (out, neutral))
            total["update"] += float((attended - encoded[stream][~padding]).square().sum())
            total["cross"] += float((attended - without).square().sum())
    for hook in hooks:
        hook.remove()
    mean = total["sum"] / total["count"]
    return (total["squares"] / total["count"] - mean**2) ** 0.5, (total["cross"] / total["update"]) ** 0.5


def run(project: Project, variant: Variant, path: Path) -> None:
    """Train a variant with all seeds, and keep its sums and what was measured of C."""
    began = time.process_time()
    attends = variant.options.get("attention", True)
    facts: dict[str, list[Any]] = {"best_epoch": [], "epochs": [], "awake": []}
    sums: dict[str, list[np.ndarray]] = {}
    for seed in SEEDS:
        clip_frames = project.geometry.clip_frames
        awake = []
        if attends:
            untrained = project.training(variant, seed, epochs=0, warmup_epochs=0).fit().model
            awake.append(wakefulness(untrained, project.test, project.stride, clip_frames))
        folder = path.parent.parent / "unfinished" / variant.name / str(seed)
        result = replace(project.training(variant, seed), folder=folder).fit()
        last = torch.load(folder / CHECKPOINT, weights_only=True)["model"]
        model = result.model
        predictions = {"jca": project.predict(model)}
        if attends:
            with model.neutralised():
                predictions["neutral"] = project.predict(model)
            awake.append(wakefulness(model, project.test, project.stride, clip_frames))
            model.load_state_dict(last)
            awake.append(wakefulness(model, project.test, project.stride, clip_frames))
        for name, found in project.sums(predictions).items():
            sums.setdefault(f"{VIEW}/{name}", []).append(found)
        facts["best_epoch"].append(result.best_epoch)
        facts["epochs"].append(len(result.history))
        facts["awake"].append(awake)
        print(f"  {variant.name}, seed {seed}: best epoch {result.best_epoch} of {len(result.history)}", flush=True)
    kept = {name: np.concatenate(found) for name, found in sums.items()}
    kept["best_epoch"], kept["epochs"], kept["awake"] = (np.array(facts[key]) for key in facts)
    save_cell(path, kept, factor=variant.name, level="", seconds=time.process_time() - began)
    shutil.rmtree(path.parent.parent / "unfinished" / variant.name)


def rows_of(cells: Mapping[str, Scores], variant: Variant) -> list[dict[str, Any]]:
    """A row per target: means over seeds, and differences with their intervals, paired over videos."""
    cell, control, plain = (cells.get(name) for name in (variant.name, variant.control.name, PLAIN))
    assert cell is not None
    awake = np.asarray(cell.sums["awake"]).mean(axis=0)  # (moments, 2)
    common: dict[str, Any] = {"variant": variant.name, "videos": cell.of(VIEW, "jca", "mean").shape[1]}
    common |= {f"std_{moment}": awake[m, 0] for m, moment in enumerate(MOMENTS)}
    common |= {f"share_{moment}": awake[m, 1] for m, moment in enumerate(MOMENTS)}
    common |= {key: " ".join(str(n) for n in cell.sums[key]) for key in ("best_epoch", "epochs")}
    others = {"neutral": (cell, "neutral"), "control": (control, "jca"), "plain": (plain, "jca")}
    rows = []
    for target in NAMES:
        own, scores = cell.of(VIEW, "jca", target), cell.ccc(VIEW, "jca", target)
        row = common | {"target": target, "ccc": scores.mean(), "sd_over_seeds": scores.std(ddof=1)}
        row["low"], row["high"] = interval(own, seed_coefficients(WEIGHTS[target], (1,), len(scores))) or (None, None)
        for name, (other, model) in others.items():
            values = dict.fromkeys((f"over_{name}", f"over_{name}_low", f"over_{name}_high"))
            if other is not None and not (name == "plain" and other is cell):
                both = np.concatenate([own, other.of(VIEW, model, target)])
                signed = seed_coefficients(WEIGHTS[target], (1, -1), len(scores))
                low, high = interval(both, signed, fisher=False) or (None, None)
                difference = scores.mean() - other.ccc(VIEW, model, target).mean()
                values = dict(zip(values, (difference, low, high), strict=True))
            row |= values
        rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of the mean of both targets."""
    lines = [
        "| jca | std(C): start, best, last | cross part: start, best, last | best epochs | CCC [95 %] "
        "| over neutral at test | over control | over plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in (row for row in rows if row["target"] == "mean"):
        spread, share = (" → ".join(f"{row[f'{key}_{m}']:.3f}" for m in MOMENTS) for key in ("std", "share"))
        score = f"{row['ccc']:.3f} ± {row['sd_over_seeds']:.3f}"
        score += "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        shown = []
        for name in ("neutral", "control", "plain"):
            low, high = row[f"over_{name}_low"], row[f"over_{name}_high"]
            ends = None if low is None else (low, high)
            shown.append(shown_difference({"difference": row[f"over_{name}"], "ci95": ends}))
        lines.append(f"| {' | '.join([row['variant'], spread, share, row['best_epoch'], score, *shown])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the variants that are missing, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, required=True, help="a project with features")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished variants")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the names of variants")
    arguments = parser.parse_args()
    project, work = Project(arguments.project.resolve()), arguments.work.resolve()
    chosen = [variant for start in arguments.only for variant in VARIANTS if variant.name.startswith(start)]

    def path_of(variant: Variant) -> Path:
        return work / "cells" / f"{variant.name}.npz"

    for variant in [*chosen, *(variant.control for variant in chosen)]:
        if not path_of(variant).is_file():
            print(variant.name, flush=True)
            run(project, variant, path_of(variant))
    cells = {path.stem: read_cell(path) for path in (work / "cells").glob("*.npz")}
    found = [variant for variant in VARIANTS if variant.name in cells]
    rows = [row for variant in found for row in rows_of(cells, variant)]
    write_csv(work / "wake.csv", rows)
    write_text(work / "wake.md", markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
