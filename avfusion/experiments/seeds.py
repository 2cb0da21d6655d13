"""How much of a score is luck: all models trained with several seeds on the cached features, compared on one split.

python -m avfusion.experiments.seeds --seeds 0 1 2
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avfusion.corpora.demo.truth import truth_folder
from avfusion.experiments.evaluate import load_evaluated, predict_tracks
from avfusion.experiments.training import model_names, read_inputs
from avfusion.params.params import Params, load_params
from avfusion.reports.report import write_report
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.project import project_root
from avfusion.scoring.bootstrap import FEW_VIDEOS, NOTE
from avfusion.scoring.metrics import NAMES, pooled_scores
from avfusion.scoring.seeds import entry_name, seed_difference, seed_spread
from avfusion.scoring.track_predictions import TrackPredictions
from avfusion.training.determinism import default_device, make_deterministic
from avfusion.training.loop import FusionTraining

STREAMS_ALONE = ("audio_only", "visual_only")


def compare_seeds(
    root: Path,
    seeds: Sequence[int] = (0, 1, 2),
    models: Sequence[str] | None = None,
    split: str = "test",
    params: Params | None = None,
) -> dict[str, Any]:
    """Train every model with every seed on the features below `root` and score them on `split`.

    Nothing is written and nothing logged. `train.options` go to the main model alone, as in the stage.

    Returns:
        `models`: {model: {ccc_valence, ccc_arousal, ccc_mean, each {mean, sd, seeds: [...]}}} (the demo corpus adds
        its oracles, which need no seed); `differences`: {"jca - audio_only": {valence|arousal|mean: {difference,
        ci95}}} of the means over seeds, with an interval paired over base videos, for all pairs with the main model
        first, and "visual_only - audio_only"; `better_stream`: the single stream with the higher mean; `videos`.

    Raises:
        BadInputError: the split has no labels.
    """
    params = params or load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
    names = list(models or model_names(params.train))
    make_deterministic(params.common.threads)
    inputs, tracks = read_inputs(root, params.geometry, params.train), load_evaluated(root, params.geometry)[split]
    device, stride = default_device(), inputs.feature_spec.stride
    data, truth = inputs.sequences(params.geometry, device), truth_folder(root, params.corpus)
    found: list[TrackPredictions] = []
    for seed in seeds:
        trained = {}
        for name in names:
            config = params.train.model_copy(update={"seed": seed})
            options = config.options if name == config.model else {}
            training = FusionTraining(
                name,
                data,
                inputs.validation,
                config,
                params.geometry,
                stride,
                options=options,
                start=inputs.start if name == config.model else None,
                device=device,
                quiet=True,
            )
            trained[entry_name(name, seed)] = training.fit().model
        entries = predict_tracks(tracks, trained, params.geometry, stride, params.train.inference, root, truth)
        merged = found or entries
        found = [
            replace(old, predictions=old.predictions | new.predictions)
            for old, new in zip(merged, entries, strict=True)
        ]
    if not any(track.valid.any() for track in found):
        raise BadInputError(f"the split {split} has no labels: choose another one")
    return _summary(found, names, list(seeds), split, params)


def _summary(
    tracks: Sequence[TrackPredictions], names: Sequence[str], seeds: Sequence[int], split: str, params: Params
) -> dict[str, Any]:
    resamples, seed = params.evaluate.bootstrap, params.evaluate.seed
    scores: dict[str, dict[str, Any]] = {}
    for name in names:
        entries = [pooled_scores(tracks, entry_name(name, s), resamples=100, seed=seed) for s in seeds]
        scores[name] = {f"ccc_{target}": seed_spread([entry[f"ccc_{target}"] for entry in entries]) for target in NAMES}
    for oracle in ("oracle", "oracle_audio", "oracle_visual"):
        if oracle in tracks[0].predictions:
            entry = pooled_scores(tracks, oracle, resamples=100, seed=seed)
            scores[oracle] = {f"ccc_{target}": seed_spread([entry[f"ccc_{target}"]]) for target in NAMES}
    pairs = [(params.train.model, name) for name in names if name != params.train.model]
    pairs += [("visual_only", "audio_only")]
    differences = {
        f"{first} - {second}": seed_difference(tracks, first, second, seeds, resamples, seed)
        for first, second in pairs
        if first in names and second in names
    }
    alone = [name for name in STREAMS_ALONE if name in names]
    videos = len({track.video for track in tracks if track.valid.any()})
    return {
        "split": split,
        "seeds": list(seeds),
        "models": scores,
        "differences": differences,
        "better_stream": max(alone, key=lambda name: scores[name]["ccc_mean"]["mean"], default=None),
        "videos": videos,
        "note": NOTE if videos < FEW_VIDEOS else "",
    }


def seed_table(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    seeds = ", ".join(map(str, result["seeds"]))
    lines = [f"pooled CCC on {result['split']} ({result['videos']} videos), mean ± sd over seeds {seeds}"]
    lines.append(f"{'':<28}" + "".join(f"{name:>16}" for name in NAMES))
    for name, scores in result["models"].items():
        cells = []
        for target in NAMES:
            score = scores[f"ccc_{target}"]
            cells.append(f"{score['mean']:.3f}" + ("" if score["sd"] is None else f" ± {score['sd']:.3f}"))
        lines.append(f"{name:<28}" + "".join(f"{cell:>16}" for cell in cells))
    note = f" ({result['note']})" if result["note"] else ""
    lines.append(f"differences, with 95 % intervals paired over videos{note}")
    for pair, found in result["differences"].items():
        lines.append(f"{pair:<28}" + "".join(f"{_shown(found[target]):>26}" for target in NAMES))
    return "\n".join(lines)


def _shown(entry: dict[str, Any]) -> str:
    ends = entry["ci95"]
    return f"{entry['difference']:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "")


def main() -> None:
    """Print the table; `--json` also writes the numbers."""
    parser = argparse.ArgumentParser(description="Train all models with several seeds and compare them.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=None, help="default: train.model and train.baselines")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--json", type=Path, default=None, help="file for the numbers")
    arguments = parser.parse_args()
    try:
        result = compare_seeds(project_root(), arguments.seeds, arguments.models, arguments.split)
    except AVFusionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if arguments.json:
        write_report(arguments.json, result)
    print(seed_table(result))


if __name__ == "__main__":
    main()
